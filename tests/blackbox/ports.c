/*
 * A host with character devices for tests, told what to do by lines on standard input; it answers each with a line.
 *
 *   add NAME SUBTYPE PORTNAME [MINOR FLAGS]     "added RESULT ST": what add_interface returned, whether `st` is set; PORTNAME - is none
 *   remove NAME         "removed RESULT"
 *   free NAME           the memory of a removed device is filled with nonsense: nobody may use it any more
 *   wake NAME, event NAME N
 *   say NAME HEX, sayfile NAME FILE     the guest offers bytes, with one wakeup
 *   flow NAME N KINDS   the guest offers N bytes that are random (KINDS 0) or blocks of that many kinds, and wakes whenever it is heard
 *   room NAME N         the guest takes N bytes more (-1: all), with one wakeup
 *   piece NAME N        and at most N in one call (0: any number), either way
 *   answers NAME 0|1    the guest answers what it takes from inside of write, in upper case
 *   wakes NAME 0|1      every callback calls wakeup from inside
 *   leaves NAME write|read|state|event|never     the device is removed from inside of that callback
 *   keeps NAME 0|1      what the guest takes is kept (the default), or only counted
 *   taken NAME          "taken HEX", and it is forgotten; takenfile NAME FILE the same into a file
 *   count NAME          "count TAKEN UNREAD": bytes that the guest took in all, and those that it still offers
 *   log NAME            "log ...": calls of state, event, and how many writes ("w7") came in between
 *   start, stop         of the machine
 *   renew               the server is destroyed with all that is attached to it, and another one is made
 *   connect HOST PORT, end 0|1     a migration; "connected" and "ended" are lines of their own
 *   option NAME VALUE   copypaste, filexfer, agentmouse
 *   primary             a QXL device with a primary surface that allows client mouse mode; monitors configurations that it is given
 *                       come as "monitors HEX", and `takes 0|1` says whether it wants them
 *   tablet, untablet, mouse     input devices; what they are told comes as lines
 *   cpu                 "cpu MS": processor time of the process
 *
 *   ports --port N
 */
#define main example_main
#include "../../examples/minimal-host.c"
#undef main
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 64 };

typedef struct Bytes {
    uint8_t *data;
    size_t used, room, begin;
} Bytes;

typedef struct Port {
    SpiceCharDeviceInstance sin;
    SpiceCharDeviceInterface interface;
    char name[32], subtype[32], portname[300];
    bool attached, answers, wakes, counts_only, inside_write, inside_read;
    char leaves[16];
    int64_t room;
    uint64_t flow, count;
    int kinds;
    int piece;
    Bytes offers, taken;
    unsigned writes;
    char log[4096];
} Port;

static SpiceServer *server;
static int port;
static Port *ports[MOST];

static void append(Bytes *b, const uint8_t *data, size_t size)
{
    if (b->begin && b->begin == b->used) {
        b->begin = b->used = 0;
    }
    if (b->used + size > b->room) {
        b->room = (b->used + size) * 2;
        b->data = realloc(b->data, b->room);
    }
    memcpy(b->data + b->used, data, size);
    b->used += size;
}

static void note(Port *p, const char *what, int n)
{
    size_t used = strlen(p->log);
    if (p->writes) {
        used += snprintf(p->log + used, sizeof p->log - used, " w%u", p->writes);
        p->writes = 0;
    }
    if (used < sizeof p->log) {
        snprintf(p->log + used, sizeof p->log - used, " %s%d", what, n);
    }
}

/* Whether the device is gone: removed from inside of its callback. */
static bool left(Port *p, const char *where)
{
    if (!strcmp(p->leaves, where) && p->attached) {
        p->attached = false;
        strcpy(p->leaves, "never");
        spice_server_remove_interface(&p->sin.base);
        return true;
    }
    if (p->wakes && p->attached) {
        spice_server_char_device_wakeup(&p->sin);
    }
    return false;
}

static Port *of(SpiceCharDeviceInstance *sin)
{
    return (Port *)sin;
}

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
    Port *p = of(sin);

    note(p, "state", connected);
    if (p->attached && !connected && (p->inside_read || p->inside_write)) {
        printf("misuse: state 0 from inside of %s\n", p->inside_read ? "read" : "write");
    }
    left(p, "state");
}

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    Port *p = of(sin);
    int64_t taken = p->room < 0 || len < p->room ? len : p->room;

    if (p->inside_write || len <= 0) {
        printf("misuse: write of %d bytes%s\n", len, p->inside_write ? " from inside of write" : "");
        return 0;
    }
    p->inside_write = true;
    p->writes++;
    if (p->piece && taken > p->piece) {
        taken = p->piece;
    }
    if (p->room > 0) {
        p->room -= taken;
    }
    p->count += taken;
    if (!p->counts_only) {
        append(&p->taken, buf, taken);
    }
    if (p->answers && taken) {
        for (int i = 0; i < taken; i++) {
            uint8_t c = buf[i] >= 'a' && buf[i] <= 'z' ? buf[i] - 32 : buf[i];
            append(&p->offers, &c, 1);
        }
        spice_server_char_device_wakeup(sin);
    }
    left(p, "write");
    p->inside_write = false;
    return taken;
}

enum { PATTERN = 1 << 18, BLOCK = 32 };

/* Random bytes, or random blocks of so many kinds. */
static const uint8_t *pattern(int kinds)
{
    static uint8_t bytes[PATTERN];
    static int made = -1;
    uint32_t state = 1;

    if (made != kinds) {
        for (int i = 0; i < PATTERN; i++) {
            state = state * 1664525 + 1013904223;
            bytes[i] = state >> 24;
        }
        for (int i = BLOCK * (kinds + 1); kinds && i + BLOCK <= PATTERN; i += BLOCK) {
            memcpy(bytes + i, bytes + BLOCK * (bytes[i] % kinds), BLOCK);
        }
        made = kinds;
    }
    return bytes;
}

static SpiceTimer *flow_timer;

/* A guest that has more to say says so again when it was heard, and soon if not. */
static void flow_on(void *opaque)
{
    bool more = false, heard = false;

    (void)opaque;
    for (int i = 0; i < MOST; i++) {
        Port *p = ports[i];
        uint64_t before = p ? p->flow : 0;
        if (before && p->attached) {
            spice_server_char_device_wakeup(&p->sin);
            more |= p->flow > 0;
            heard |= p->flow < before;
        }
    }
    if (more) {
        timer_start(flow_timer, heard ? 0 : 1);
    }
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    Port *p = of(sin);
    size_t some = p->offers.used - p->offers.begin;

    if (len <= 0) {
        printf("misuse: read of %d bytes\n", len);
        return 0;
    }
    if (p->piece && len > p->piece) {
        len = p->piece;
    }
    if (some) {
        some = some < (size_t)len ? some : (size_t)len;
        memcpy(buf, p->offers.data + p->offers.begin, some);
        p->offers.begin += some;
    } else if (p->flow) {
        some = p->flow < (uint64_t)len ? p->flow : (uint64_t)len;
        memcpy(buf, pattern(p->kinds) + p->flow % 4099, some);
        p->flow -= some;
    }
    p->inside_read = true;
    left(p, "read");
    p->inside_read = false;
    return some;
}

static void on_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
    note(of(sin), "event", event);
    left(of(sin), "event");
}

static Port *find(const char *name)
{
    for (int i = 0; i < MOST; i++) {
        if (ports[i] && !strcmp(ports[i]->name, name)) {
            return ports[i];
        }
    }
    return NULL;
}

static int add(const char *name, const char *subtype, const char *portname, int minor, int flags)
{
    Port *p = calloc(1, sizeof *p);
    for (int i = 0; i < MOST; i++) {
        if (!ports[i]) {
            ports[i] = p;
            break;
        }
    }
    p->interface = (SpiceCharDeviceInterface){
        .base = { SPICE_INTERFACE_CHAR_DEVICE, "test port", SPICE_INTERFACE_CHAR_DEVICE_MAJOR, minor },
        .state = on_state, .write = on_write, .read = on_read, .event = on_event, .flags = flags,
    };
    strcpy(p->name, name);
    strcpy(p->subtype, subtype);
    strcpy(p->leaves, "never");
    p->sin.base.sif = &p->interface.base;
    p->sin.subtype = p->subtype;
    if (strcmp(portname, "-")) {
        strcpy(p->portname, portname);
        p->sin.portname = p->portname;
    }
    p->room = -1;
    p->attached = true;
    return spice_server_add_interface(server, &p->sin.base);
}

/* --- migration */

static void connect_complete(SpiceMigrateInstance *sin)
{
    (void)sin;
    printf("connected\n");
}

static void end_complete(SpiceMigrateInstance *sin)
{
    (void)sin;
    printf("ended\n");
}

static const SpiceMigrateInterface migrate_interface = {
    .base = { SPICE_INTERFACE_MIGRATION, "test migration", SPICE_INTERFACE_MIGRATION_MAJOR, SPICE_INTERFACE_MIGRATION_MINOR },
    .migrate_connect_complete = connect_complete, .migrate_end_complete = end_complete,
};
static SpiceMigrateInstance migrate = { .base.sif = &migrate_interface.base };

/* --- graphics and input */

static bool takes_monitors;

static int monitors_config(QXLInstance *q, VDAgentMonitorsConfig *config)
{
    (void)q;
    if (config && takes_monitors) {
        size_t each = sizeof(VDAgentMonConfig) + (config->flags & 2 ? 4 : 0);
        const uint8_t *bytes = (const uint8_t *)config;
        printf("monitors ");
        for (size_t i = 0; i < sizeof *config + config->num_of_monitors * each; i++) {
            printf("%02x", bytes[i]);
        }
        printf("\n");
    }
    return takes_monitors;
}

static void logical_size(SpiceTabletInstance *t, int width, int height) { (void)t, printf("tablet size %d %d\n", width, height); }
static void position(SpiceTabletInstance *t, int x, int y, uint32_t state) { (void)t, printf("tablet at %d %d %#x\n", x, y, state); }
static void wheel(SpiceTabletInstance *t, int dz, uint32_t state) { (void)t, printf("tablet wheel %d %#x\n", dz, state); }
static void tablet_buttons(SpiceTabletInstance *t, uint32_t state) { (void)t, printf("tablet buttons %#x\n", state); }

static const SpiceTabletInterface tablet_interface = {
    .base = { SPICE_INTERFACE_TABLET, "test tablet", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR },
    .set_logical_size = logical_size, .position = position, .wheel = wheel, .buttons = tablet_buttons,
};
static SpiceTabletInstance tablet = { .base.sif = &tablet_interface.base };
static QXLInterface taking_interface;

static void primary(void)
{
    taking_interface = qxl_interface;
    taking_interface.client_monitors_config = monitors_config;
    qxl.base.sif = &taking_interface.base;
    spice_server_add_interface(server, &qxl.base);
    QXLDevSurfaceCreate surface = { .width = WIDTH, .height = HEIGHT, .stride = -WIDTH * 4, .format = SPICE_SURFACE_FMT_32_xRGB,
                                    .mem = (uintptr_t)screen, .mouse_mode = 1 };
    spice_qxl_create_primary_surface(&qxl, 0, &surface);
}

/* --- lines */

static void option(const char *name, int value)
{
    if (!strcmp(name, "copypaste")) {
        spice_server_set_agent_copypaste(server, value);
    } else if (!strcmp(name, "filexfer")) {
        spice_server_set_agent_file_xfer(server, value);
    } else {
        spice_server_set_agent_mouse(server, value);
    }
}

static void say_file(Port *p, const char *path)
{
    static uint8_t block[1 << 16];
    FILE *f = fopen(path, "rb");
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) {
        append(&p->offers, block, n);
    }
    fclose(f);
}

static bool run_of_port(Port *p, const char *verb, char *rest)
{
    int n = atoi(rest);

    if (!strcmp(verb, "remove")) {
        p->attached = false;
        n = spice_server_remove_interface(&p->sin.base);
        printf("removed %d\n", n);
    } else if (!strcmp(verb, "free")) {
        for (int i = 0; i < MOST; i++) {
            ports[i] = ports[i] == p ? NULL : ports[i];
        }
        memset(p, 0x5a, sizeof *p);
        printf("ok\n");
    } else if (!strcmp(verb, "taken")) {
        printf("taken ");
        for (size_t i = 0; i < p->taken.used; i++) {
            printf("%02x", p->taken.data[i]);
        }
        printf("\n");
        p->taken.used = 0;
    } else if (!strcmp(verb, "takenfile")) {
        FILE *f = fopen(rest, "wb");
        fwrite(p->taken.data, 1, p->taken.used, f);
        fclose(f);
        p->taken.used = 0;
        printf("ok\n");
    } else if (!strcmp(verb, "count")) {
        printf("count %llu %llu\n", (unsigned long long)p->count, (unsigned long long)(p->offers.used - p->offers.begin + p->flow));
    } else if (!strcmp(verb, "log")) {
        note(p, "", 0);
        p->log[strlen(p->log) - 2] = 0; /* the empty note */
        printf("log%s\n", p->log);
        p->log[0] = 0;
    } else {
        if (!strcmp(verb, "event")) {
            spice_server_port_event(&p->sin, n);
        } else if (!strcmp(verb, "say")) {
            for (unsigned byte; sscanf(rest, "%2x", &byte) == 1; rest += 2) {
                uint8_t b = byte;
                append(&p->offers, &b, 1);
            }
        } else if (!strcmp(verb, "sayfile")) {
            say_file(p, rest);
        } else if (!strcmp(verb, "flow")) {
            sscanf(rest, "%llu %d", (unsigned long long *)&p->flow, &p->kinds);
            timer_start(flow_timer, 0);
        } else if (!strcmp(verb, "room")) {
            p->room = strtoll(rest, NULL, 0);
        } else if (!strcmp(verb, "piece")) {
            p->piece = n;
        } else if (!strcmp(verb, "answers")) {
            p->answers = n;
        } else if (!strcmp(verb, "wakes")) {
            p->wakes = n;
        } else if (!strcmp(verb, "keeps")) {
            p->counts_only = !n;
        } else if (!strcmp(verb, "leaves")) {
            snprintf(p->leaves, sizeof p->leaves, "%s", rest);
        } else if (strcmp(verb, "wake")) {
            return false;
        }
        bool to_wake = !strcmp(verb, "wake") || !strcmp(verb, "say") || !strcmp(verb, "sayfile") || !strcmp(verb, "room");
        if (to_wake) {
            spice_server_char_device_wakeup(&p->sin);
        }
        printf("ok\n");
    }
    return true;
}

static bool serve(void)
{
    server = spice_server_new();
    spice_server_set_addr(server, "127.0.0.1", 0);
    spice_server_set_port(server, port);
    spice_server_set_noauth(server);
    spice_server_set_seamless_migration(server, 1);
    migrate.st = NULL;
    if (spice_server_init(server, &core) || spice_server_add_interface(server, &migrate.base)) {
        return false;
    }
    spice_server_vm_start(server);
    return true;
}

static void run(char *line)
{
    char verb[32] = "", a[32] = "", b[300] = "", c[300] = "";
    int consumed = 0, minor = SPICE_INTERFACE_CHAR_DEVICE_MINOR, flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE;
    Port *p;

    sscanf(line, "%31s %31s %n", verb, a, &consumed);
    sscanf(line, "%*s %*s %299s %299s %d %d", b, c, &minor, &flags);
    if (!strcmp(verb, "add")) {
        int result = add(a, b, c, minor, flags);
        p = find(a);
        printf("added %d %d\n", result, p->sin.st != NULL);
    } else if (!strcmp(verb, "start")) {
        spice_server_vm_start(server);
        printf("ok\n");
    } else if (!strcmp(verb, "stop")) {
        spice_server_vm_stop(server);
        printf("ok\n");
    } else if (!strcmp(verb, "renew")) {
        spice_server_destroy(server);
        printf("ok %d\n", serve());
    } else if (!strcmp(verb, "connect")) {
        printf("ok %d\n", spice_server_migrate_connect(server, a, atoi(b), -1, NULL));
    } else if (!strcmp(verb, "end")) {
        printf("ok %d\n", spice_server_migrate_end(server, atoi(a)));
    } else if (!strcmp(verb, "option")) {
        option(a, atoi(b));
        printf("ok\n");
    } else if (!strcmp(verb, "primary")) {
        primary();
        printf("ok\n");
    } else if (!strcmp(verb, "takes")) {
        takes_monitors = atoi(a);
        printf("ok\n");
    } else if (!strcmp(verb, "tablet")) {
        printf("ok %d\n", spice_server_add_interface(server, &tablet.base));
    } else if (!strcmp(verb, "untablet")) {
        printf("ok %d\n", spice_server_remove_interface(&tablet.base));
    } else if (!strcmp(verb, "mouse")) {
        printf("ok %d\n", spice_server_add_interface(server, &mouse.base));
    } else if (!strcmp(verb, "cpu")) {
        struct rusage u;
        getrusage(RUSAGE_SELF, &u);
        printf("cpu %ld\n", (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000);
    } else if (!(p = find(a)) || !run_of_port(p, verb, line + consumed)) {
        printf("unknown %s\n", line);
    }
}

static void read_lines(int fd, int event, void *opaque)
{
    static char text[1 << 20];
    static size_t used;

    (void)event, (void)opaque;
    ssize_t got = read(fd, text + used, sizeof text - 1 - used);
    if (got <= 0) {
        quit = 1;
        return;
    }
    used += got;
    text[used] = 0;
    for (char *end; (end = strchr(text, '\n'));) {
        *end = 0;
        run(text);
        used -= end + 1 - text;
        memmove(text, end + 1, used + 1);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    port = argc > 2 ? atoi(argv[2]) : 0;
    core.channel_event = NULL;
    if (!serve()) {
        return 1;
    }
    watch_add(0, SPICE_WATCH_EVENT_READ, read_lines, NULL);
    flow_timer = timer_add(flow_on, NULL);
    printf("serving\n");
    while (!quit) {
        run_once();
    }
    spice_server_destroy(server);
    return 0;
}
