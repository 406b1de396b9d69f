/* Misuse by the host: every function with NULL, with things that were never attached, before init, after remove and
 * after destroy, with wrong versions and with a host that refuses. All must return the documented error value. */
#include <dirent.h>
#include <fcntl.h>
#include <spice.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#undef NDEBUG
#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

/* A main loop that never runs anything, and counts. */
static int watches, timers;
static bool refuse;

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    (void)func, (void)opaque;
    if (refuse) {
        return NULL;
    }
    timers++;
    return malloc(1);
}
static void timer_start(SpiceTimer *timer, uint32_t ms) { (void)timer, (void)ms; }
static void timer_cancel(SpiceTimer *timer) { (void)timer; }
static void timer_remove(SpiceTimer *timer)
{
    timers--;
    free(timer);
}
static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    (void)mask, (void)func, (void)opaque;
    MUST(fcntl(fd, F_GETFD) != -1);
    if (refuse) {
        return NULL;
    }
    watches++;
    return malloc(1);
}
static void watch_update(SpiceWatch *watch, int mask) { (void)watch, (void)mask; }
static void watch_remove(SpiceWatch *watch)
{
    watches--;
    free(watch);
}

static SpiceCoreInterface core_interface(void)
{
    SpiceCoreInterface core = {
        .base = { .type = SPICE_INTERFACE_CORE, .description = "test", .major_version = SPICE_INTERFACE_CORE_MAJOR,
                  .minor_version = SPICE_INTERFACE_CORE_MINOR },
        .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
        .watch_add = watch_add, .watch_update_mask = watch_update, .watch_remove = watch_remove,
    };
    return core;
}

static void push(SpiceKbdInstance *sin, uint8_t frag) { (void)sin, (void)frag; }
static uint8_t leds(SpiceKbdInstance *sin)
{
    (void)sin;
    return 0;
}

static void null_everywhere(void)
{
    MUST(spice_server_init(NULL, NULL) == -1);
    spice_server_destroy(NULL);
    MUST(spice_server_set_compat_version(NULL, SPICE_COMPAT_VERSION_0_6) == -1);
    MUST(spice_server_set_port(NULL, 1) == -1);
    spice_server_set_addr(NULL, NULL, 0);
    MUST(spice_server_set_noauth(NULL) == -1);
    MUST(spice_server_set_sasl(NULL, 0) == -1);
    MUST(spice_server_set_ticket(NULL, NULL, 0, 0, 0) == -1);
    MUST(spice_server_set_tls(NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL) == -1);
    MUST(spice_server_add_client(NULL, -1, 0) == -1);
    MUST(spice_server_add_ssl_client(NULL, -1, 0) == -1);
    MUST(spice_server_add_interface(NULL, NULL) == -1);
    MUST(spice_server_remove_interface(NULL) == -1);
    MUST(spice_server_set_image_compression(NULL, 2) == -1);
    MUST(spice_server_get_image_compression(NULL) == 0);
    MUST(spice_server_set_jpeg_compression(NULL, 1) == -1);
    MUST(spice_server_set_channel_security(NULL, NULL, 0) == -1);
    MUST(spice_server_set_video_codecs(NULL, NULL) == -1);
    MUST(spice_server_get_video_codecs(NULL) == NULL);
    spice_server_free_video_codecs(NULL, NULL);
    MUST(spice_server_is_server_mouse(NULL) == 0);
    MUST(spice_server_get_num_clients(NULL) == 0);
    spice_server_set_name(NULL, NULL);
    spice_server_set_uuid(NULL, NULL);
    spice_server_vm_start(NULL);
    spice_server_vm_stop(NULL);
    spice_server_set_seamless_migration(NULL, 1);
    MUST(spice_server_migrate_connect(NULL, NULL, 1, 1, NULL) == -1);
    MUST(spice_server_migrate_start(NULL) == -1);
    MUST(spice_server_migrate_end(NULL, 1) == -1);
    MUST(spice_server_migrate_info(NULL, NULL, 1, 1, NULL) == -1);
    MUST(spice_server_migrate_switch(NULL) == -1);
    MUST(spice_server_kbd_leds(NULL, 0) == -1);
    spice_server_char_device_wakeup(NULL);
    spice_server_port_event(NULL, 0);
    uint32_t *samples = (uint32_t *)1, count = 7;
    spice_server_playback_start(NULL);
    spice_server_playback_get_buffer(NULL, &samples, &count);
    MUST(samples == NULL && count == 0);
    spice_server_playback_get_buffer(NULL, NULL, NULL);
    spice_server_playback_put_samples(NULL, NULL);
    spice_server_playback_set_volume(NULL, 2, NULL);
    spice_server_playback_stop(NULL);
    spice_server_record_start(NULL);
    MUST(spice_server_record_get_samples(NULL, NULL, 10) == 0);
    spice_server_record_stop(NULL);
    MUST(spice_replay_new(NULL, 1024) == NULL);
    MUST(spice_replay_next_cmd(NULL, NULL) == NULL);
    spice_replay_free_cmd(NULL, NULL);
    spice_replay_free(NULL);
}

/* All functions of a QXL instance that is not attached: NULL, or never added, or removed. */
static void unattached_qxl(QXLInstance *qxl)
{
    QXLRect rect = { 0, 0, 1, 1 };
    QXLDevMemSlot slot = { 0 };
    QXLDevSurfaceCreate surface = { 0 };
    QXLCommandExt command = { { 0 } };

    spice_qxl_wakeup(qxl);
    spice_qxl_oom(qxl);
    spice_qxl_start(qxl);
    spice_qxl_stop(qxl);
    spice_qxl_update_area(qxl, 0, &rect, NULL, 0, 0);
    spice_qxl_update_area(qxl, 0, NULL, NULL, 5, 0);
    spice_qxl_add_memslot(qxl, &slot);
    spice_qxl_add_memslot(qxl, NULL);
    spice_qxl_del_memslot(qxl, 9, 9);
    spice_qxl_reset_memslots(qxl);
    spice_qxl_create_primary_surface(qxl, 0, &surface);
    spice_qxl_create_primary_surface(qxl, 0, NULL);
    spice_qxl_destroy_primary_surface(qxl, 0);
    spice_qxl_destroy_surfaces(qxl);
    spice_qxl_reset_image_cache(qxl);
    spice_qxl_reset_cursor(qxl);
    spice_qxl_destroy_surface_wait(qxl, 5);
    spice_qxl_loadvm_commands(qxl, &command, 1);
    spice_qxl_loadvm_commands(qxl, NULL, 1000);
    spice_qxl_update_area_async(qxl, 0, NULL, 0, 1);
    spice_qxl_add_memslot_async(qxl, NULL, 1);
    spice_qxl_destroy_surfaces_async(qxl, 1);
    spice_qxl_destroy_primary_surface_async(qxl, 0, 1);
    spice_qxl_create_primary_surface_async(qxl, 0, NULL, 1);
    spice_qxl_destroy_surface_async(qxl, 0, 1);
    spice_qxl_flush_surfaces_async(qxl, 1);
    spice_qxl_monitors_config_async(qxl, 0, 0, 1);
    spice_qxl_driver_unload(qxl);
    spice_qxl_set_max_monitors(qxl, 0);
    spice_qxl_set_device_info(qxl, NULL, 0, 100);
    spice_qxl_gl_scanout(qxl, -1, 0, 0, 0, 0, 0);
    spice_qxl_gl_draw_async(qxl, 0, 0, 0, 0, 1);
#if SPICE_SERVER_VERSION >= 0x001000
    spice_qxl_gl_scanout2(qxl, NULL, 0, 0, NULL, NULL, 0, 0, 0, 0);
    spice_qxl_gl_scanout2(qxl, NULL, 0, 0, NULL, NULL, 4, 0, 0, 0);
    spice_qxl_gl_scanout2(qxl, NULL, 0, 0, NULL, NULL, 5, 0, 0, 0);
    /* Descriptors given away are closed even when nobody can use them. */
    int pipes[2];
    MUST(pipe(pipes) == 0);
    int fd = pipes[0];
    uint32_t zero = 0;
    spice_qxl_gl_scanout2(qxl, &fd, 1, 1, &zero, &zero, 1, 0, 0, 0);
    MUST((qxl && qxl->st) || fcntl(pipes[0], F_GETFD) == -1);
    close(pipes[1]);
#endif
}

static void bad_cores(void)
{
    SpiceServer *server = spice_server_new();
    MUST(spice_server_init(server, NULL) == -1);
    SpiceCoreInterface core = core_interface();
    core.base.major_version = 2;
    MUST(spice_server_init(server, &core) == -1);
    core = core_interface();
    core.watch_add = NULL;
    MUST(spice_server_init(server, &core) == -1);
    core = core_interface();
    refuse = true;
    MUST(spice_server_init(server, &core) == -1);
    refuse = false;
    MUST(watches == 0 && timers == 0);
    spice_server_destroy(server);
}

/* Values that do not exist, and calls in the wrong order. */
static void bad_values(void)
{
    SpiceServer *server = spice_server_new();
    SpiceCoreInterface core = core_interface();
    for (int initialized = 0; initialized < 2; initialized++) {
        for (int i = 0; i < 3; i++) {
            int value = i == 0 ? 0 : i == 1 ? -1 : 4;
            MUST(spice_server_set_jpeg_compression(server, value) == -1);
            MUST(spice_server_set_zlib_glz_compression(server, value) == -1);
        }
        MUST(spice_server_migrate_connect(server, "127.0.0.1", 1, -1, NULL) == -1);
        MUST(spice_server_migrate_start(server) == -1);
        spice_server_migrate_end(server, 1);
        spice_server_migrate_end(server, 0);
        MUST(spice_server_migrate_info(server, NULL, -1, -1, NULL) == -1);
        spice_server_migrate_switch(server);
        MUST(initialized || spice_server_init(server, &core) == 0);
    }
    spice_server_destroy(server);
    MUST(watches == 0 && timers == 0);
}

static void before_init(void)
{
    SpiceServer *server = spice_server_new();
    SpiceKbdInterface interface = {
        .base = { SPICE_INTERFACE_KEYBOARD, "test", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR },
        .push_scan_freg = push, .get_leds = leds,
    };
    SpiceKbdInstance keyboard = { .base.sif = &interface.base };
    MUST(spice_server_add_interface(server, &keyboard.base) == -1);
    MUST(keyboard.st == NULL);
    int sockets[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    MUST(spice_server_add_client(server, sockets[0], 0) == -1);
    MUST(fcntl(sockets[0], F_GETFD) != -1);
    MUST(spice_server_add_ssl_client(server, sockets[0], 0) == -1);
    MUST(fcntl(sockets[0], F_GETFD) != -1);
    close(sockets[0]);
    close(sockets[1]);
    spice_server_vm_start(server);
    spice_server_vm_stop(server);
    spice_server_destroy(server);
    /* The server is gone. */
    MUST(spice_server_set_port(server, 1) == -1);
    spice_server_destroy(server);
}

static void interfaces(void)
{
    SpiceServer *server = spice_server_new();
    SpiceCoreInterface core = core_interface();
    MUST(spice_server_init(server, &core) == 0);
    MUST(spice_server_init(server, &core) == -1);

    SpiceKbdInterface interface = {
        .base = { SPICE_INTERFACE_KEYBOARD, "test", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR },
        .push_scan_freg = push, .get_leds = leds,
    };
    SpiceKbdInstance keyboard = { .base.sif = &interface.base };
    MUST(spice_server_add_interface(server, NULL) == -1);
    SpiceBaseInstance empty = { NULL };
    MUST(spice_server_add_interface(server, &empty) == -1);
    MUST(spice_server_kbd_leds(&keyboard, 7) == -1);
    interface.base.major_version++;
    MUST(spice_server_add_interface(server, &keyboard.base) == -1);
    interface.base.major_version--;
    interface.base.minor_version++;
    MUST(spice_server_add_interface(server, &keyboard.base) == -1);
    interface.base.minor_version--;
    MUST(spice_server_add_interface(server, &keyboard.base) == 0);
    MUST(keyboard.st != NULL);
    MUST(spice_server_add_interface(server, &keyboard.base) == -1);
    SpiceKbdInstance second = { .base.sif = &interface.base };
    MUST(spice_server_add_interface(server, &second.base) == -1);
    MUST(spice_server_kbd_leds(&keyboard, 7) == 0);
    MUST(spice_server_remove_interface(&keyboard.base) == -1);

    SpiceTabletInterface tablet_interface = {
        .base = { SPICE_INTERFACE_TABLET, "test", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR },
    };
    SpiceTabletInstance tablet = { .base.sif = &tablet_interface.base };
    for (int i = 0; i < 3; i++) {
        MUST(spice_server_add_interface(server, &tablet.base) == 0);
        MUST(tablet.st != NULL);
        MUST(spice_server_remove_interface(&tablet.base) == 0);
        MUST(tablet.st == NULL);
        MUST(spice_server_remove_interface(&tablet.base) == -1);
    }

    SpiceBaseInterface unknown = { "surprise", "test", 1, 1 };
    SpiceBaseInstance stranger = { &unknown };
    MUST(spice_server_add_interface(server, &stranger) == 0);
    MUST(spice_server_remove_interface(&stranger) == -1);

    QXLInterface qxl_interface = { .base = { SPICE_INTERFACE_QXL, "test", SPICE_INTERFACE_QXL_MAJOR, 9 } };
    QXLInstance qxl = { .base.sif = &qxl_interface.base, .id = 0 };
    MUST(spice_server_add_interface(server, &qxl.base) == -1);
    qxl_interface.base.minor_version = SPICE_INTERFACE_QXL_MINOR;
    qxl.id = -1;
    MUST(spice_server_add_interface(server, &qxl.base) == -1);
    MUST(qxl.st == NULL);
    unattached_qxl(&qxl);

    MUST(spice_server_add_client(server, -1, 0) == -1);
    MUST(spice_server_add_client(server, 100000, 0) == -1);
    int pipes[2];
    MUST(pipe(pipes) == 0);
    MUST(spice_server_add_client(server, pipes[0], 0) == -1);
    MUST(spice_server_add_ssl_client(server, pipes[0], 0) == -1);
    MUST(fcntl(pipes[0], F_GETFD) != -1);
    close(pipes[0]);
    close(pipes[1]);
    spice_server_destroy(server);
    MUST(keyboard.st == NULL);
    MUST(watches == 0 && timers == 0);
}

static int entries(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

static int attached;
static void init_info(QXLInstance *sin, QXLDevInitInfo *info)
{
    (void)sin;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 1, .num_memslots = 1, .memslot_id_bits = 1, .memslot_gen_bits = 1,
                              .n_surfaces = 16 };
}
static void attached_worker(QXLInstance *sin)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    MUST(sin->st != NULL);
    spice_qxl_add_memslot(sin, &slot);
    attached++;
}
static int no_command(QXLInstance *sin, QXLCommandExt *ext)
{
    (void)sin, (void)ext;
    return 0;
}

/* Servers and devices come and go, also without being stopped or removed first; nothing of them stays. */
static void cycles(void)
{
    static uint32_t screen[64 * 64];
    /* An old host: its struct ends before set_client_capabilities, and it leaves out what it may. */
    struct { char bytes[offsetof(QXLInterface, set_client_capabilities)]; char canary[16]; } memory;
    memset(&memory, 0, sizeof memory);
    memset(memory.canary, 0xff, sizeof memory.canary);
    QXLInterface *interface = (QXLInterface *)&memory;
    interface->base.type = SPICE_INTERFACE_QXL;
    interface->base.major_version = SPICE_INTERFACE_QXL_MAJOR;
    interface->base.minor_version = 1;
    interface->get_init_info = init_info;
    interface->attached_worker = attached_worker;
    interface->get_command = no_command;

    int fds = 0, threads = 0;
    for (int cycle = 0; cycle < 30; cycle++) {
        SpiceServer *server = spice_server_new();
        SpiceCoreInterface core = core_interface();
        MUST(spice_server_init(server, &core) == 0);
        QXLInstance first = { .base.sif = &interface->base, .id = 0 }, second = { .base.sif = &interface->base, .id = 1 };
        MUST(spice_server_add_interface(server, &first.base) == 0);
        MUST(spice_server_add_interface(server, &second.base) == 0);
        QXLInstance same = { .base.sif = &interface->base, .id = 1 };
        MUST(spice_server_add_interface(server, &same.base) == -1);
        MUST(same.st == NULL);
        QXLDevSurfaceCreate surface = { .width = 64, .height = 64, .stride = 256, .format = 32,
                                        .mem = (uintptr_t)screen };
        spice_qxl_create_primary_surface(&first, 0, &surface);
        spice_qxl_create_primary_surface(&first, 0, &surface);
        if (cycle % 2) {
            spice_server_vm_start(server);
            spice_server_vm_start(server);
        }
        QXLRect all = { 0, 0, 64, 64 }, dirty[3];
        memset(dirty, 0x77, sizeof dirty);
        spice_qxl_update_area(&first, 0, &all, dirty, 3, 1);
        spice_qxl_update_area(&first, 7, &all, NULL, 3, 1);
        spice_qxl_oom(&first);
        spice_qxl_destroy_primary_surface(&first, 5);
        spice_qxl_destroy_primary_surface(&first, 0);
        spice_qxl_destroy_primary_surface(&first, 0);
        unattached_qxl(&same);
        unattached_qxl(&second); /* nonsense, but for a live device: must be survived as well */
        MUST(spice_server_remove_interface(&second.base) == 0);
        MUST(second.st == NULL);
        MUST(spice_server_remove_interface(&second.base) == -1);
        unattached_qxl(&second);
        spice_server_destroy(server);
        MUST(first.st == NULL);
        MUST(watches == 0 && timers == 0);
        if (cycle == 10) {
            fds = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
        }
    }
    MUST(attached == 60);
    MUST(entries("/proc/self/fd") <= fds);
    MUST(entries("/proc/self/task") <= threads);
}

/* Hosts end in the middle of it all by exit(): their last calls come when thread-local values are gone. */
static SpiceServer *unfinished;
static SpiceTabletInterface last_interface = {
    .base = { SPICE_INTERFACE_TABLET, "test", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR },
};
static SpiceTabletInstance last = { .base.sif = &last_interface.base };
static SpiceCoreInterface last_core;

static void at_exit(void)
{
    if (spice_server_remove_interface(&last.base) != 0 || last.st != NULL) {
        fputs("a tablet cannot be removed at exit\n", stderr);
        _exit(1);
    }
    spice_server_destroy(unfinished);
}

static void leave_a_server(void)
{
    unfinished = spice_server_new();
    last_core = core_interface();
    MUST(spice_server_init(unfinished, &last_core) == 0);
    MUST(spice_server_add_interface(unfinished, &last.base) == 0);
    MUST(atexit(at_exit) == 0);
}

int main(void)
{
    null_everywhere();
    unattached_qxl(NULL);
    QXLInstance never_added = { .id = 3 };
    unattached_qxl(&never_added);
    bad_cores();
    bad_values();
    before_init();
    interfaces();
    cycles();
    leave_a_server();
    puts("misuse: ok");
    return 0;
}
