-- SPDX-License-Identifier: BSD-2-Clause
--
-- lru.lua -- native.lru: a bounded table that forgets what was not used for longest.
--
-- A ring of nodes with a head of its own: head.next is the latest used, head.prev the one
-- to go.  A node is the caller's: it may keep anything there but key, next and prev.

local _, native = ...

local setmetatable = setmetatable

local Lru = {}
Lru.__index = Lru

local function unlink(node)
    node.prev.next, node.next.prev = node.next, node.prev
end

local function link(head, node)
    node.prev, node.next = head, head.next
    head.next.prev, head.next = node, node
end

--- The node of a key, which is thereby used; or nil.
function Lru:use(key)
    local node = self.nodes[key]
    if not node then return nil end
    if self.head.next ~= node then
        unlink(node)
        link(self.head, node)
    end
    return node
end

function Lru:remove(key)
    local node = self.nodes[key]
    if not node then return false end
    unlink(node)
    self.nodes[key] = nil
    self.count = self.count - 1
    return true
end

--- Files `node` under its key, in the place of another one; what is too much goes.
function Lru:add(key, node)
    self:remove(key)
    if self.count >= self.size then self:remove(self.head.prev.key) end
    node.key = key
    self.nodes[key] = node
    link(self.head, node)
    self.count = self.count + 1
    return node
end

---@param size integer nodes
function native.lru(size)
    local head = {}
    head.next, head.prev = head, head
    return setmetatable({ size = size, count = 0, nodes = {}, head = head }, Lru)
end

return {}
