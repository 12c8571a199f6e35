/* load.c -- an MQTT load generator: reads the command line and runs one measurement.
 *
 * One thread; results are one line of key=value on stdout, complaints go to stderr. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "load.h"

#include "client.h"
#include "filters.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load MODE [options]\n"
    "  pair | fanout | fanin | nosub   publish; count what is delivered (nosub: what the\n"
    "                                  broker has taken)\n"
    "  filters                         publish to random topics, each matched by one of\n"
    "                                  many mixed filters\n"
    "  retained                        send kept messages to a new subscriber, again\n"
    "  drain                           send queued messages to a client that comes back\n"
    "  connect                         connect, DISCONNECT, again\n"
    "  takeover                        connect again with an id in use\n"
    "  subscribe                       subscribe to one filter after the other\n"
    "  idle                            hold connections and read the broker's memory\n"
    "where\n"
    "  --host H (127.0.0.1) --port N (1883) | --unix PATH\n"
    "  --version 4|5      3.1.1 (the default) or 5.0\n"
    "  --pid N            the broker's process: CPU and memory are measured\n"
    "  --wait S           for the broker to come up (5)\n"
    "  --sources N        come from 127.0.0.1 to 127.0.0.N (1)\n"
    "how long\n"
    "  --seconds S        measured (3), after --warmup S (0.5)\n"
    "  --messages N       publish (connect, take over, subscribe) N in all and stop, with no\n"
    "                     warm-up\n"
    "messages\n"
    "  --publishers N (1) --subscribers N (1; pair: as many as publishers)\n"
    "  --qos 0|1|2 (0)    --payload BYTES (64; at least 16)\n"
    "  --window N         messages in flight per publisher (32); 1 is a closed loop\n"
    "  --burst            a window at a time, when all of the one before is done\n"
    "  --rate N           messages published per second in all, on schedule\n"
    "  --latency          percentiles, from publish (or schedule) to delivery\n"
    "  --filters N        filters: in all, spread over the subscribers (1000)\n"
    "  --idle N           connections held beside (0)\n"
    "  --kept N           retained, drain: how many messages (50000)\n"
    "connections\n"
    "  --connections N    idle: how many are held; the others: at once (64)\n"
    "exit status: 0; 1 after a failure; 2 when messages were lost, doubled or reordered\n";

enum mode {
    M_PAIR,
    M_FANOUT,
    M_FANIN,
    M_NOSUB,
    M_FILTERS,
    M_RETAINED,
    M_DRAIN,
    M_CONNECT,
    M_TAKEOVER,
    M_SUBSCRIBE,
    M_IDLE,
    MODES
};

static const struct {
    const char *name;
    int (*run)(const struct options *o);
} modes[MODES] = {
    [M_PAIR] = { "pair", traffic_run },
    [M_FANOUT] = { "fanout", traffic_run },
    [M_FANIN] = { "fanin", traffic_run },
    [M_NOSUB] = { "nosub", traffic_run },
    [M_FILTERS] = { "filters", traffic_run },
    [M_RETAINED] = { "retained", retained_run },
    [M_DRAIN] = { "drain", drain_run },
    [M_CONNECT] = { "connect", connect_run },
    [M_TAKEOVER] = { "takeover", takeover_run },
    [M_SUBSCRIBE] = { "subscribe", subscribe_run },
    [M_IDLE] = { "idle", idle_run },
};

enum option_id { O_HOST = 1, O_PORT, O_UNIX, O_LATENCY, O_BURST, O_HELP, O_NUMBERS };

/* Options that are a number: where it goes and what it may be. */
enum number_kind { N_UINT, N_UINT64, N_DOUBLE };
static const struct number {
    const char *name;
    size_t offset; /* in struct options */
    enum number_kind kind;
    double min, max;
} numbers[] = {
#define NUMBER(name, member, kind, min, max)                                                       \
    { name, offsetof(struct options, member), kind, min, max }
    NUMBER("version", version, N_UINT, 4, 5),
    NUMBER("pid", broker_pid, N_UINT, 1, 1 << 30),
    NUMBER("wait", wait_s, N_DOUBLE, 0, 600),
    NUMBER("seconds", seconds, N_DOUBLE, 0.01, WIRE_KEEP_ALIVE - 60),
    NUMBER("warmup", warmup_s, N_DOUBLE, 0, 60),
    NUMBER("messages", messages, N_UINT64, 1, 4e9),
    NUMBER("publishers", publishers, N_UINT, 1, 19000),
    NUMBER("subscribers", subscribers, N_UINT, 0, 19000),
    NUMBER("qos", qos, N_UINT, 0, 2),
    NUMBER("payload", payload, N_UINT, 16, 1 << 20),
    NUMBER("window", window, N_UINT, 1, 1000000),
    NUMBER("rate", rate, N_DOUBLE, 0.001, 1e8),
    NUMBER("connections", connections, N_UINT, 1, 19900),
    NUMBER("sources", sources, N_UINT, 1, 250),
    NUMBER("filters", filters, N_UINT, 1, FILTERS_MAX),
    NUMBER("idle", idle, N_UINT, 0, 19900),
    NUMBER("kept", kept, N_UINT, 1, 10000000),
#undef NUMBER
};

enum { NUMBERS = sizeof numbers / sizeof *numbers };

static void die(const char *what, const char *value) {
    fprintf(stderr, "load: %s%s%s\n", what, value ? ": " : "", value ? value : "");
    exit(RUN_FAILED);
}

static void set_number(struct options *o, const struct number *n, const char *text) {
    char *end;
    double v = strtod(text, &end);
    if (!*text || *end || !(v >= n->min && v <= n->max)) die(n->name, text);
    char *at = (char *)o + n->offset;
    switch (n->kind) {
    case N_UINT: memcpy(at, &(unsigned){ (unsigned)v }, sizeof(unsigned)); break;
    case N_UINT64: memcpy(at, &(uint64_t){ (uint64_t)v }, sizeof(uint64_t)); break;
    case N_DOUBLE: memcpy(at, &v, sizeof v); break;
    }
}

static enum mode mode_named(const char *name) {
    for (int i = 0; i < MODES; i++)
        if (strcmp(name, modes[i].name) == 0) return (enum mode)i;
    die("no such mode", name);
    return MODES;
}

/* What follows from the mode and from what was left out. */
static void complete(struct options *o, enum mode mode) {
    o->topology = mode == M_FANOUT    ? TOPO_FANOUT
                  : mode == M_FANIN   ? TOPO_FANIN
                  : mode == M_NOSUB   ? TOPO_NOSUB
                  : mode == M_FILTERS ? TOPO_FILTERS
                                      : TOPO_PAIR;
    if (mode == M_PAIR) o->subscribers = o->publishers;
    if (mode == M_NOSUB) o->subscribers = 0;
    bool hears = mode == M_FANOUT || mode == M_FANIN || mode == M_FILTERS;
    if (hears && o->subscribers == 0) die("needs a subscriber", modes[mode].name);
    if (o->messages) o->warmup_s = 0;
    unsigned long files = net_raise_nofile();
    unsigned need = o->publishers + o->subscribers + o->idle;
    if (need < o->connections) need = o->connections;
    if (need + 32 > files) die("not enough descriptors", NULL);
}

static void locate(struct options *o, const char *host, const char *port, const char *unix_path) {
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    if (*end || number < 1 || number > 65535) die("port", port);
    int r = unix_path ? address_unix(&o->address, unix_path)
                      : address_tcp(&o->address, host, (unsigned)number);
    if (r < 0) die(unix_path ? unix_path : host, strerror(-r));
}

static enum mode parse(int argc, char **argv, struct options *o) {
    struct option longs[O_NUMBERS + NUMBERS] = {
        { "host", required_argument, NULL, O_HOST }, { "port", required_argument, NULL, O_PORT },
        { "unix", required_argument, NULL, O_UNIX }, { "latency", no_argument, NULL, O_LATENCY },
        { "burst", no_argument, NULL, O_BURST },     { "help", no_argument, NULL, O_HELP },
    };
    for (int i = 0; i < NUMBERS; i++)
        longs[O_NUMBERS - 1 + i] =
            (struct option){ numbers[i].name, required_argument, NULL, O_NUMBERS + i };
    const char *host = "127.0.0.1", *port = "1883", *unix_path = NULL;
    for (int id; (id = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (id) {
        case O_HOST: host = optarg; break;
        case O_PORT: port = optarg; break;
        case O_UNIX: unix_path = optarg; break;
        case O_LATENCY: o->latency = true; break;
        case O_BURST: o->burst = true; break;
        case O_HELP: fputs(usage, stdout); exit(0);
        case '?': exit(RUN_FAILED);
        default: set_number(o, &numbers[id - O_NUMBERS], optarg);
        }
    }
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        exit(RUN_FAILED);
    }
    locate(o, host, port, unix_path);
    enum mode mode = mode_named(argv[optind]);
    complete(o, mode);
    return mode;
}

int main(int argc, char **argv) {
    struct options o = { .version = 4,
                         .wait_s = 5,
                         .seconds = 3,
                         .warmup_s = 0.5,
                         .publishers = 1,
                         .subscribers = 1,
                         .payload = 64,
                         .window = 32,
                         .sources = 1,
                         .filters = 1000,
                         .kept = 50000,
                         .connections = 64 };
    enum mode mode = parse(argc, argv, &o);
    int r = client_await_broker(&o);
    if (r < 0) die("no broker", strerror(-r));
    return modes[mode].run(&o);
}
