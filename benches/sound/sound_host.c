/*
 * sound_host: a host that plays sound, and measures what that costs.
 *
 *   cc -O2 -o sound_host sound_host.c $(pkg-config --cflags spice-server) -l:libspice-server.so.1 -lpthread -lm
 *   ./sound_host PORT FRAMES MICROSECONDS
 *
 * When a client listens, it plays FRAMES frames of 480 samples of a chord, one each MICROSECONDS (10000 is the pace of 48 kHz).
 * Then it prints the processor time of its thread, on which the library plays, in microseconds, and for each frame when it was handed over, in nanoseconds of
 * CLOCK_MONOTONIC; 0: nobody wanted it. The main loop is that of examples/minimal-host.c.
 */
#define main example_main
#include "../../examples/minimal-host.c"
#undef main
#include <inttypes.h>
#include <math.h>
#include <sys/resource.h>

enum { FRAME = 480 };

static const SpicePlaybackInterface playback_interface = {
    .base = { .type = SPICE_INTERFACE_PLAYBACK, .description = "bench", .major_version = SPICE_INTERFACE_PLAYBACK_MAJOR,
              .minor_version = SPICE_INTERFACE_PLAYBACK_MINOR } };
static SpicePlaybackInstance playback = { .base.sif = &playback_interface.base };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t cpu_us(void)
{
    struct rusage use;
    getrusage(RUSAGE_THREAD, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000LL + use.ru_utime.tv_usec + use.ru_stime.tv_usec;
}

/* Fills a buffer of the library and hands it over; when that was, or 0. */
static int64_t play(unsigned number)
{
    static uint32_t chord[100][FRAME];
    uint32_t *samples, *wave = chord[number % 100], count;
    if (number < 100) {
        for (int i = 0; i < FRAME; i++) {
            double t = (number * FRAME + i) / 48000.0 * 2 * M_PI;
            int16_t left = 8000 * (sin(440 * t) + sin(560 * t) + sin(660 * t)), right = left / 2;
            wave[i] = (uint16_t)left | (uint32_t)(uint16_t)right << 16;
        }
    }
    spice_server_playback_get_buffer(&playback, &samples, &count);
    if (!samples) {
        return 0;
    }
    memcpy(samples, wave, count * sizeof *samples);
    int64_t when = now_ns();
    spice_server_playback_put_samples(&playback, samples);
    return when;
}

static void nothing(void *opaque) { (void)opaque; }
static void no_event(int event, SpiceChannelEventInfo *info) { (void)event, (void)info; }

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    unsigned frames = atoi(argv[2]);
    int64_t gap = atoll(argv[3]) * 1000, *handed = calloc(frames, sizeof *handed);
    SpiceServer *server = spice_server_new();
    core.channel_event = no_event;
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, atoi(argv[1]));
    spice_server_set_noauth(server);
    if (spice_server_init(server, &core) || spice_server_add_interface(server, &playback.base)) {
        return 2;
    }
    spice_server_set_playback_rate(&playback, 48000);
    spice_server_vm_start(server);
    SpiceTimer *tick = timer_add(nothing, NULL); /* ends the waits of the loop */
    puts("ready");
    fflush(stdout);

    spice_server_playback_start(&playback);
    while (!play(0)) {
        run_once();
    }
    /* The client is told of the start with the first frame; the rest is measured. */
    int64_t begin = now_ns(), cpu = cpu_us();
    for (unsigned i = 0; i < frames; i++) {
        for (int64_t left; (left = begin + i * gap - now_ns()) > 0;) {
            struct timespec nap = { 0, left < 500000 ? left : 500000 };
            nanosleep(&nap, NULL);
        }
        handed[i] = play(i + 1);
        timer_start(tick, 0);
        run_once();
    }
    cpu = cpu_us() - cpu;
    printf("%" PRId64, cpu);
    for (unsigned i = 0; i < frames; i++) {
        printf(" %" PRId64, handed[i]);
    }
    puts("");
    fflush(stdout);
    for (int i = 0; i < 50; i++) {
        timer_start(tick, 20);
        run_once();
    }
    spice_server_destroy(server);
    return 0;
}
