-- A line chart with logarithmic axes, as SVG.

local M = {}

local WIDTH, HEIGHT = 640, 400
local LEFT, RIGHT, TOP, BOTTOM = 80, 24, 84, 56 -- margins around the plot area

local styles = {
    sol = { colour = "#0b5fce", mark = "circle" },
    mosquitto = { colour = "#c8252c", mark = "square" },
    relay = { colour = "#6b7280", mark = "triangle" },
}

local function escape(text)
    return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- 1000000 -> "1,000,000"; 0.05 -> "0.05".
local function number(n)
    if n < 1 then return ("%g"):format(n) end
    local digits = ("%.0f"):format(n)
    return (digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

--- The ends of the axis that holds all values, rounded outwards to 1, 2 or 5 times a power
--- of ten, and all such steps between them.
local function round_out(low, high)
    local steps = {}
    for exponent = -4, 8 do
        for _, step in ipairs { 1, 2, 5 } do steps[#steps + 1] = step * 10.0 ^ exponent end
    end
    local from, to, ticks = steps[1], steps[#steps], {}
    for _, step in ipairs(steps) do
        if step <= low * 1.0001 then from = step end
    end
    for i = #steps, 1, -1 do
        if steps[i] >= high * 0.9999 then to = steps[i] end
    end
    for _, step in ipairs(steps) do
        if step >= from and step <= to then ticks[#ticks + 1] = step end
    end
    return from, to, ticks
end

local function bounds(series, index)
    local low, high = math.huge, 0
    for _, line in ipairs(series) do
        for _, point in ipairs(line.points) do
            low, high = math.min(low, point[index]), math.max(high, point[index])
        end
    end
    return low, high
end

--- value -> pixel, on a logarithmic scale.
local function scale(from, to, at, length)
    return function(value)
        return at + length * (math.log(value) - math.log(from)) / (math.log(to) - math.log(from))
    end
end

local function mark(shape, colour, x, y)
    if shape == "circle" then
        return ('<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>'):format(x, y, colour)
    elseif shape == "square" then
        return ('<rect x="%.1f" y="%.1f" width="8" height="8" fill="%s"/>'):format(x - 4, y - 4, colour)
    end
    return ('<path d="M%.1f %.1fl5 9h-10z" fill="%s"/>'):format(x, y - 5, colour)
end

local function text(x, y, anchor, more, content)
    return ('<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>'):format(
        x, y, anchor, more, escape(content))
end

local function line(x1, y1, x2, y2, more)
    return ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>'):format(x1, y1, x2, y2, more)
end

--- Every label of a crowded axis would touch its neighbour: then only powers of ten.
local function worth_a_label(ticks, tick)
    return #ticks <= 10 or ("%e"):format(tick):find "^1%.0+e"
end

local function axes(out, chart, x, y, ticks)
    local right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for _, tick in ipairs(ticks) do
        out[#out + 1] = line(LEFT, y(tick), right, y(tick), 'stroke="#e2e5e9"')
        if worth_a_label(ticks, tick) then
            out[#out + 1] = text(LEFT - 8, y(tick) + 4, "end", "", number(tick))
        end
    end
    for _, value in ipairs(chart.x) do
        out[#out + 1] = line(x(value), bottom, x(value), bottom + 5, 'stroke="#30363d"')
        out[#out + 1] = text(x(value), bottom + 20, "middle", "", number(value))
    end
    out[#out + 1] = line(LEFT, bottom, right, bottom, 'stroke="#30363d"')
    out[#out + 1] = text((LEFT + right) / 2, HEIGHT - 12, "middle", "", chart.x_label)
    out[#out + 1] = text(16, 30, "start", ' font-size="16" font-weight="bold"', chart.title)
    out[#out + 1] = text(LEFT, TOP - 10, "start", "", chart.y_label)
end

local function draw_series(out, series, x, y)
    local style, points = styles[series.broker], {}
    for _, point in ipairs(series.points) do
        points[#points + 1] = ("%.1f,%.1f"):format(x(point[1]), y(point[2]))
    end
    out[#out + 1] = ('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>'):format(
        table.concat(points, " "), style.colour)
    for _, point in ipairs(series.points) do
        out[#out + 1] = mark(style.mark, style.colour, x(point[1]), y(point[2]))
    end
end

local function legend(out, series)
    local x, y = 16, 50
    for _, one in ipairs(series) do
        local style = styles[one.broker]
        out[#out + 1] = line(x, y, x + 28, y, ('stroke="%s" stroke-width="2"'):format(style.colour))
        out[#out + 1] = mark(style.mark, style.colour, x + 14, y)
        out[#out + 1] = text(x + 34, y + 4, "start", "", one.name)
        x = x + 48 + 7 * #one.name
    end
end

--- The SVG of `chart`: title, x_label, y_label, x (where the ticks are) and series, each with
--- broker, name and points.
function M.svg(chart)
    local low, high = bounds(chart.series, 2)
    local from, to, ticks = round_out(low * 0.9, high * 1.1)
    local x = scale(chart.x[1], chart.x[#chart.x], LEFT + 16, WIDTH - LEFT - RIGHT - 40)
    local y = scale(to, from, TOP, HEIGHT - TOP - BOTTOM)
    local out = { ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
        .. 'font-family="sans-serif" font-size="12" fill="#1f2328">'):format(WIDTH, HEIGHT, WIDTH, HEIGHT),
        '<rect width="100%" height="100%" fill="#ffffff"/>' }
    axes(out, chart, x, y, ticks)
    for _, series in ipairs(chart.series) do draw_series(out, series, x, y) end
    legend(out, chart.series)
    out[#out + 1] = "</svg>\n"
    return table.concat(out, "\n")
end

return M
