/*
 * peerclient: a viewer that only receives, for SPICE and for RFB (VNC), one program so that both cost the machine the same.
 * It decodes nothing and skips payloads by their lengths. It records the times of updates that cover the frame counter's block (with the
 * frame's number if the wire shows it as a plain colour), of updates of the drawing area, and of updates of the key's block.
 *
 *   peerclient spice PORT --log FILE
 *   peerclient rfb   PORT --log FILE --encodings tight|tight-lossless|zrle [--quality N] [--no-cu]
 *
 * RFB: security type none; the requested encodings plus CopyRect, LastRect, Cursor, DesktopSize, Fence and ContinuousUpdates; if the
 * server has no continuous updates, the next incremental request goes out when an update begins, as TigerVNC's viewer does.
 * SPICE: main, display, cursor and inputs, capabilities of a current viewer, acknowledges and answers pings.
 * stdin: a line "m" prints totals as JSON; "k" presses and releases a key; end of file ends it. "ready" is printed when
 * the first picture has arrived and nothing followed it for 0.5 s.
 * FILE gets 16 bytes per event: ns (u64, CLOCK_MONOTONIC), frame number or -1 (i32), kind (u32):
 * 1 counter block, 2 drawing area, 3 end of the RFB update that had the block, 4 key sent, 5 key's block.
 *
 *   cc -O2 -I/usr/include/spice-1 -o peerclient peerclient.c -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <spice/enums.h>
#include <spice/protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BX = 1000, BY = 744, BS = 16, KX = 936, AREA_H = 704 }; /* as in workload.c and frames.S */
enum { BLOCK = 1, AREA, UPDATE_END, KEY_SENT, KEY_BLOCK };

struct event { uint64_t t; int32_t id; uint32_t kind; };
static struct event *events;
static size_t n_events, cap_events;
static uint64_t last_area, total_in, n_messages, n_updates, n_encoding[4], b_encoding[4];
static const char *enc_name[4];
static uint64_t arrival; /* when the bytes now parsed came */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void die(const char *what) { fprintf(stderr, "peerclient: %s: %s\n", what, strerror(errno)); exit(1); }
static void note(uint64_t t, int id, int kind)
{
    if (kind == AREA) {
        if (t - last_area < 1000000) return;
        last_area = t;
    }
    if (n_events == cap_events) events = realloc(events, (cap_events = cap_events ? 2 * cap_events : 4096) * sizeof *events);
    events[n_events++] = (struct event){ t, id, kind };
}
/* A rectangle of new pixels; colour < 0: not known without decoding. Answers whether it covers the counter's block. */
static bool covered(int x0, int y0, int x1, int y1, long colour)
{
    bool b = x0 <= BX && y0 <= BY && x1 >= BX + BS && y1 >= BY + BS;
    if (b) {
        int id = -1;
        if (colour >= 0 && (colour & 0x0f0f0f) == 0x080808) id = (colour >> 20 & 15) << 8 | (colour >> 12 & 15) << 4 | (colour >> 4 & 15);
        note(arrival, id, BLOCK);
    }
    if (x0 <= KX && y0 <= BY && x1 >= KX + BS && y1 >= BY + BS) note(arrival, -1, KEY_BLOCK);
    if (y0 < AREA_H && y1 > 0 && x1 > x0) note(arrival, -1, AREA);
    return b;
}
/* What a JPEG's own tables say about its quality, on libjpeg's scale; without decoding anything. */
static double q_sum, q_min = 101, q_max;
static uint64_t q_count, q_420, q_bytes;
static void jpeg_note(const uint8_t *p, size_t n)
{
    unsigned sum = 0;
    for (size_t o = 2; o + 4 <= n && p[o] == 0xff && p[o + 1] != 0xda;) {
        size_t len = p[o + 2] << 8 | p[o + 3];
        if (o + 2 + len > n) return;
        if (p[o + 1] == 0xdb && len >= 67 && p[o + 4] == 0) {
            for (int i = 0; i < 64; i++) sum += p[o + 5 + i];
        } else if (p[o + 1] == 0xc0 && len >= 11) {
            q_420 += p[o + 11] == 0x22;
        }
        o += 2 + len;
    }
    if (!sum) return;
    double scale = sum * 100.0 / 3685, q = scale <= 100 ? (200 - scale) / 2 : 5000 / scale; /* 3685: the sum of the standard luma table */
    q_sum += q;
    q_count++;
    q_bytes += n;
    if (q < q_min) q_min = q;
    if (q > q_max) q_max = q;
}
static int dial(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0;; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (!connect(fd, (void *)&a, sizeof a)) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        if (i > 200) die("connect");
        usleep(50000);
    }
}
static void read_all(int fd, void *p, size_t n)
{
    for (uint8_t *b = p; n;) {
        ssize_t r = read(fd, b, n);
        if (r <= 0) die("link closed in the handshake");
        b += r;
        n -= r;
    }
}
static void write_all(int fd, const void *p, size_t n)
{
    for (const uint8_t *b = p; n;) {
        ssize_t r = write(fd, b, n);
        if (r < 0) die("write");
        b += r;
        n -= r;
    }
}

struct conn {
    int fd, type;
    uint8_t *buf;
    size_t len, cap;
    uint32_t ack_window, ack_left;
};
static struct conn conns[8];
static int n_conns;
static struct conn *add_conn(int fd, int type)
{
    struct conn *c = &conns[n_conns++];
    *c = (struct conn){ .fd = fd, .type = type, .buf = malloc(1 << 20), .cap = 1 << 20 };
    return c;
}

/* ------------------------------------------------------------------ SPICE */
static uint32_t conn_id, stream_box[64][4]; /* of a video stream: top left bottom right */
static bool main_ready;
static uint64_t stream_frames;

static void spice_send(struct conn *c, uint16_t type, const void *body, uint32_t n)
{
    uint8_t m[6 + 64];
    memcpy(m, &type, 2);
    memcpy(m + 2, &n, 4);
    if (n) memcpy(m + 6, body, n);
    write_all(c->fd, m, 6 + n);
}
static struct conn *spice_link(int port, uint8_t type, uint32_t caps)
{
    int fd = dial(port);
    uint32_t common = (1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION) | (1 << SPICE_COMMON_CAP_AUTH_SPICE) | (1 << SPICE_COMMON_CAP_MINI_HEADER);
    struct __attribute__((packed)) { SpiceLinkHeader h; SpiceLinkMess m; uint32_t common, chan; } req = {
        { SPICE_MAGIC, SPICE_VERSION_MAJOR, SPICE_VERSION_MINOR, sizeof(SpiceLinkMess) + 8 }, { conn_id, type, 0, 1, 1, sizeof(SpiceLinkMess) }, common, caps };
    write_all(fd, &req, sizeof req);
    SpiceLinkHeader h;
    uint8_t body[4096], ticket[256];
    read_all(fd, &h, sizeof h);
    if (h.size > sizeof body) die("link reply");
    read_all(fd, body, h.size);
    SpiceLinkReply *r = (void *)body;
    if (r->error) { fprintf(stderr, "peerclient: link error %u on channel %d\n", r->error, type); exit(1); }
    uint32_t mech = SPICE_COMMON_CAP_AUTH_SPICE, res;
    write_all(fd, &mech, 4);
    const uint8_t *der = r->pub_key;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &der, SPICE_TICKET_PUBKEY_BYTES);
    EVP_PKEY_CTX *x = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    size_t tn = sizeof ticket;
    if (!x || EVP_PKEY_encrypt_init(x) <= 0 || EVP_PKEY_CTX_set_rsa_padding(x, RSA_PKCS1_OAEP_PADDING) <= 0 ||
        EVP_PKEY_encrypt(x, ticket, &tn, (const uint8_t *)"", 1) <= 0) die("ticket");
    write_all(fd, ticket, tn);
    read_all(fd, &res, 4);
    if (res) { fprintf(stderr, "peerclient: refused %u on channel %d\n", res, type); exit(1); }
    EVP_PKEY_CTX_free(x);
    EVP_PKEY_free(key);
    return add_conn(fd, type);
}
static uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }

static void spice_display(uint16_t type, const uint8_t *p, uint32_t n)
{
    if (type == SPICE_MSG_DISPLAY_STREAM_CREATE && n >= 50) { /* surface id flags codec stamp(8) w h w h dest clip */
        uint32_t id = u32(p + 4);
        if (id < 64) memcpy(stream_box[id], p + 34, 16);
    } else if ((type == SPICE_MSG_DISPLAY_STREAM_DATA && n >= 12) || (type == SPICE_MSG_DISPLAY_STREAM_DATA_SIZED && n >= 32)) {
        uint32_t *b = stream_box[u32(p) & 63], box[4];
        if (type == SPICE_MSG_DISPLAY_STREAM_DATA_SIZED) { memcpy(box, p + 16, 16); b = box; }
        uint32_t head = type == SPICE_MSG_DISPLAY_STREAM_DATA ? 12 : 36;
        if (n > head) jpeg_note(p + head, n - head);
        stream_frames++;
        covered(b[1], b[0], b[3], b[2], -1);
    } else if (type >= SPICE_MSG_DISPLAY_DRAW_FILL && type <= SPICE_MSG_DISPLAY_DRAW_COMPOSITE && type != SPICE_MSG_DISPLAY_SURFACE_CREATE &&
               type != SPICE_MSG_DISPLAY_SURFACE_DESTROY && type != SPICE_MSG_DISPLAY_MONITORS_CONFIG && type != SPICE_MSG_DISPLAY_STREAM_DATA_SIZED && n >= 21) {
        if (u32(p)) return; /* an off-screen surface */
        uint32_t o = 21;
        if (p[20] == SPICE_CLIP_TYPE_RECTS) o += 4 + 16 * u32(p + 21);
        long colour = -1;
        if (type == SPICE_MSG_DISPLAY_DRAW_FILL && o + 5 <= n && p[o] == SPICE_BRUSH_TYPE_SOLID) colour = u32(p + o + 1) & 0xffffff;
        covered(u32(p + 8), u32(p + 4), u32(p + 16), u32(p + 12), colour);
    } else if (type == SPICE_MSG_DISPLAY_COPY_BITS && n >= 21 && !u32(p)) {
        note(arrival, -1, AREA);
    }
}
static void spice_message(struct conn *c, uint16_t type, const uint8_t *p, uint32_t n)
{
    n_messages++;
    if (type == SPICE_MSG_SET_ACK) {
        c->ack_window = c->ack_left = u32(p + 4);
        spice_send(c, SPICE_MSGC_ACK_SYNC, p, 4);
        return;
    }
    if (type == SPICE_MSG_PING) spice_send(c, SPICE_MSGC_PONG, p, 12);
    else if (c->type == SPICE_CHANNEL_MAIN && type == SPICE_MSG_MAIN_INIT) {
        conn_id = u32(p);
        spice_send(c, SPICE_MSGC_MAIN_ATTACH_CHANNELS, NULL, 0);
    } else if (c->type == SPICE_CHANNEL_MAIN && type == SPICE_MSG_MAIN_CHANNELS_LIST) main_ready = true;
    else if (c->type == SPICE_CHANNEL_DISPLAY) spice_display(type, p, n);
    if (c->ack_window && --c->ack_left == 0) {
        c->ack_left = c->ack_window;
        spice_send(c, SPICE_MSGC_ACK, NULL, 0);
    }
}
static size_t spice_parse(struct conn *c)
{
    size_t o = 0;
    while (c->len - o >= 6) {
        uint32_t n = u32(c->buf + o + 2);
        if (c->len - o < 6 + (size_t)n) break;
        spice_message(c, c->buf[o] | c->buf[o + 1] << 8, c->buf + o + 6, n);
        o += 6 + (size_t)n;
    }
    return o;
}

/* ------------------------------------------------------------------ RFB */
static int fb_w, fb_h, rects_left = -1;
static bool want_cu = true, cu, block_in_update;
enum { RAW = 0, COPYRECT = 1, TIGHT = 7, ZRLE = 16, LAST_RECT = -224, CURSOR = -239, DESKTOP_SIZE = -223, EXT_DESKTOP_SIZE = -308, FENCE = -312, CU = -313 };

static unsigned be16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static void put16(uint8_t *p, unsigned v) { p[0] = v >> 8; p[1] = v; }
static void request(int fd, bool incremental)
{
    uint8_t m[10] = { 3, incremental };
    put16(m + 6, fb_w);
    put16(m + 8, fb_h);
    write_all(fd, m, 10);
}
/* length of a Tight rectangle's data, 0 if more bytes are needed; *colour is set for a plain one */
static size_t tight_size(const uint8_t *p, size_t n, size_t w, size_t h, long *colour)
{
    if (n < 1) return 0;
    size_t o = 1, size, bytes = w * h * 3;
    unsigned c = p[0] >> 4;
    if (c == 8) {
        if (n < 4) return 0;
        *colour = p[1] << 16 | p[2] << 8 | p[3];
        return 4;
    }
    if (c > 9) { fprintf(stderr, "peerclient: Tight control %#x\n", p[0]); exit(1); }
    if (c < 8) {
        if (c & 4) {
            if (n < 2) return 0;
            o = 2;
            if (p[1] == 1) {
                if (n < 3) return 0;
                unsigned colours = p[2] + 1;
                o = 3 + 3 * colours;
                bytes = colours == 2 ? (w + 7) / 8 * h : w * h;
            }
        }
        if (bytes < 12) return o + bytes <= n ? o + bytes : 0;
    }
    size = 0;
    for (int i = 0; i < 3; i++) {
        if (o >= n) return 0;
        uint8_t b = p[o++];
        size |= (size_t)(i < 2 ? b & 127 : b) << 7 * i;
        if (i < 2 && !(b & 128)) break;
    }
    if (o + size > n) return 0;
    if (c == 9) jpeg_note(p + o, size);
    return o + size;
}
static void end_update(void)
{
    if (block_in_update) note(arrival, -1, UPDATE_END);
    block_in_update = false;
    rects_left = -1;
    n_updates++;
}
static size_t rfb_parse(struct conn *c)
{
    size_t o = 0;
    for (;;) {
        const uint8_t *p = c->buf + o;
        size_t n = c->len - o, size;
        if (rects_left < 0) {
            if (n < 1) return o;
            switch (p[0]) {
            case 0:
                if (n < 4) return o;
                rects_left = be16(p + 2);
                o += 4;
                if (!cu) request(c->fd, true);
                if (!rects_left) end_update();
                continue;
            case 1: if (n < 6 || n < (size = 6 + 6 * be16(p + 4))) return o; o += size; continue;
            case 2: o++; continue;
            case 3: if (n < 8 || n < (size = 8 + (size_t)be32(p + 4))) return o; o += size; continue;
            case 150:
                o++;
                if (want_cu && !cu) {
                    uint8_t m[10] = { 150, 1 };
                    put16(m + 6, fb_w);
                    put16(m + 8, fb_h);
                    write_all(c->fd, m, 10);
                    cu = true;
                }
                continue;
            case 248:
                if (n < 9 || n < (size = 9 + p[8])) return o;
                if (be32(p + 4) & 1u << 31) {
                    uint8_t m[80];
                    memcpy(m, p, size);
                    m[4] &= 0x7f;
                    m[7] &= 7;
                    m[5] = m[6] = 0;
                    write_all(c->fd, m, size);
                }
                o += size;
                continue;
            default: fprintf(stderr, "peerclient: RFB message %d\n", p[0]); exit(1);
            }
        }
        if (n < 12) return o;
        size_t x = be16(p), y = be16(p + 2), w = be16(p + 4), h = be16(p + 6), room = n - 12;
        int enc = (int)be32(p + 8), slot = 3;
        long colour = -1;
        const uint8_t *d = p + 12;
        switch (enc) {
        case RAW: size = w * h * 4; slot = 0; break;
        case COPYRECT: size = 4; slot = 1; break;
        case ZRLE: if (room < 4) return o; size = 4 + (size_t)be32(d); slot = 2; break;
        case TIGHT: if (!(size = tight_size(d, room, w, h, &colour))) return o; slot = 2; break;
        case LAST_RECT: size = 0; break;
        case CURSOR: size = w * h * 4 + (w + 7) / 8 * h; break;
        case DESKTOP_SIZE: size = 0; break;
        case EXT_DESKTOP_SIZE: if (room < 4) return o; size = 4 + 16 * (size_t)d[0]; break;
        default: fprintf(stderr, "peerclient: RFB encoding %d\n", enc); exit(1);
        }
        if (room < size) return o;
        o += 12 + size;
        n_messages++;
        n_encoding[slot]++;
        b_encoding[slot] += 12 + size;
        if (enc == DESKTOP_SIZE || (enc == EXT_DESKTOP_SIZE && w)) { fb_w = w; fb_h = h; }
        if (enc >= 0 && covered(x, y, x + w, y + h, colour)) block_in_update = true;
        if (enc == LAST_RECT || --rects_left == 0) end_update();
    }
}
static void rfb_open(int port, const char *encodings, int quality)
{
    int fd = dial(port);
    uint8_t b[512];
    read_all(fd, b, 12);
    write_all(fd, "RFB 003.008\n", 12);
    read_all(fd, b, 1);
    if (!b[0]) die("refused");
    read_all(fd, b + 1, b[0]);
    if (!memchr(b + 1, 1, b[0])) die("security none is not offered");
    write_all(fd, "\1", 1);
    read_all(fd, b, 4);
    if (be32(b)) die("security");
    write_all(fd, "\1", 1);
    read_all(fd, b, 24);
    fb_w = be16(b);
    fb_h = be16(b + 2);
    for (uint32_t left = be32(b + 20); left; left -= left < 512 ? left : 512) read_all(fd, b, left < 512 ? left : 512);
    static const uint8_t format[20] = { 0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0 };
    write_all(fd, format, 20);
    int32_t list[16];
    int n = 0;
    bool zrle = !strcmp(encodings, "zrle");
    enc_name[0] = "raw"; enc_name[1] = "copyrect"; enc_name[2] = zrle ? "zrle" : "tight"; enc_name[3] = "other";
    list[n++] = zrle ? ZRLE : TIGHT;
    list[n++] = COPYRECT;
    list[n++] = RAW;
    list[n++] = CURSOR;
    list[n++] = DESKTOP_SIZE;
    list[n++] = EXT_DESKTOP_SIZE;
    list[n++] = LAST_RECT;
    list[n++] = FENCE;
    if (want_cu) list[n++] = CU;
    list[n++] = -256 + 2; /* compression level 2, TigerVNC's viewer's default */
    if (!strcmp(encodings, "tight")) list[n++] = -32 + quality;
    uint8_t m[4 + 64] = { 2, 0 };
    put16(m + 2, n);
    for (int i = 0; i < n; i++) { put16(m + 4 + 4 * i, (uint32_t)list[i] >> 16); put16(m + 6 + 4 * i, list[i] & 0xffff); }
    write_all(fd, m, 4 + 4 * n);
    add_conn(fd, 0);
    request(fd, false);
}

/* ------------------------------------------------------------------ both */
static void press_key(bool spice)
{
    note(now_ns(), -1, KEY_SENT);
    if (spice) {
        for (int i = 0; i < n_conns; i++) {
            if (conns[i].type != SPICE_CHANNEL_INPUTS) continue;
            uint32_t down = 0x1e, up = 0x9e;
            spice_send(&conns[i], SPICE_MSGC_INPUTS_KEY_DOWN, &down, 4);
            spice_send(&conns[i], SPICE_MSGC_INPUTS_KEY_UP, &up, 4);
        }
    } else {
        uint8_t m[16] = { 4, 1, 0, 0, 0, 0, 0, 'a', 4, 0, 0, 0, 0, 0, 0, 'a' };
        write_all(conns[0].fd, m, 16);
    }
}
int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    bool spice = !strcmp(argv[1], "spice");
    int port = atoi(argv[2]), quality = 8;
    const char *log = "/dev/null", *encodings = "tight";
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--no-cu")) want_cu = false;
        else if (i + 1 < argc && !strcmp(argv[i], "--log")) log = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--encodings")) encodings = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--quality")) quality = atoi(argv[++i]);
        else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    uint64_t start = now_ns(), last = 0;
    bool told = false;
    if (spice) {
        struct conn *m = spice_link(port, SPICE_CHANNEL_MAIN, (1 << SPICE_MAIN_CAP_NAME_AND_UUID) | (1 << SPICE_MAIN_CAP_AGENT_CONNECTED_TOKENS));
        while (!main_ready) {
            ssize_t r = read(m->fd, m->buf + m->len, m->cap - m->len);
            if (r <= 0) die("main channel");
            m->len += r;
            total_in += r;
            size_t o = spice_parse(m);
            memmove(m->buf, m->buf + o, m->len -= o);
            if (m->cap - m->len < 65536) m->buf = realloc(m->buf, m->cap *= 2);
        }
        struct conn *d = spice_link(port, SPICE_CHANNEL_DISPLAY,
            (1 << SPICE_DISPLAY_CAP_SIZED_STREAM) | (1 << SPICE_DISPLAY_CAP_MONITORS_CONFIG) | (1 << SPICE_DISPLAY_CAP_COMPOSITE) |
            (1 << SPICE_DISPLAY_CAP_A8_SURFACE) | (1 << SPICE_DISPLAY_CAP_LZ4_COMPRESSION) | (1 << SPICE_DISPLAY_CAP_PREF_COMPRESSION) |
            (1 << SPICE_DISPLAY_CAP_MULTI_CODEC) | (1 << SPICE_DISPLAY_CAP_CODEC_MJPEG) | (1 << SPICE_DISPLAY_CAP_CODEC_VP8) | (1 << SPICE_DISPLAY_CAP_CODEC_H264));
        struct __attribute__((packed)) { uint8_t cache_id; int64_t cache; uint8_t dict_id; int32_t dict; } init = { 1, 20 << 20, 1, 8 << 20 };
        spice_send(d, SPICE_MSGC_DISPLAY_INIT, &init, sizeof init);
        spice_link(port, SPICE_CHANNEL_CURSOR, 0);
        spice_link(port, SPICE_CHANNEL_INPUTS, 0);
    } else {
        rfb_open(port, encodings, quality);
    }
    for (;;) {
        struct pollfd p[9];
        for (int i = 0; i < n_conns; i++) p[i] = (struct pollfd){ conns[i].fd, POLLIN, 0 };
        p[n_conns] = (struct pollfd){ 0, POLLIN, 0 };
        if (poll(p, n_conns + 1, told ? 1000 : 50) < 0 && errno != EINTR) die("poll");
        for (int i = 0; i < n_conns; i++) {
            struct conn *c = &conns[i];
            if (!p[i].revents) continue;
            if (c->cap - c->len < 65536) c->buf = realloc(c->buf, c->cap *= 2);
            ssize_t r = read(c->fd, c->buf + c->len, c->cap - c->len);
            if (r <= 0) die("the server closed");
            arrival = last = now_ns();
            c->len += r;
            total_in += r;
            size_t o = spice ? spice_parse(c) : rfb_parse(c);
            c->len -= o;
            memmove(c->buf, c->buf + o, c->len);
        }
        uint64_t t = now_ns();
        if (!told && (spice ? n_messages > 2 : n_updates > 0) && last && (t - last > 500000000 || t - start > 8000000000ull)) {
            printf("ready\n");
            fflush(stdout);
            told = true;
        }
        if (p[n_conns].revents) {
            char cmd[64];
            ssize_t r = read(0, cmd, sizeof cmd);
            if (r <= 0) break;
            for (ssize_t i = 0; i < r; i++) {
                if (cmd[i] == 'k') press_key(spice);
                if (cmd[i] != 'm') continue;
                printf("{\"bytes\":%llu,\"messages\":%llu,\"updates\":%llu,\"stream_frames\":%llu,\"cu\":%d", (unsigned long long)total_in,
                       (unsigned long long)n_messages, (unsigned long long)n_updates, (unsigned long long)stream_frames, cu);
                for (int e = 0; e < 4 && enc_name[e]; e++)
                    printf(",\"%s\":[%llu,%llu]", enc_name[e], (unsigned long long)n_encoding[e], (unsigned long long)b_encoding[e]);
                printf(",\"jpegs\":%llu,\"jpegs_420\":%llu,\"jpeg_bytes\":%llu", (unsigned long long)q_count, (unsigned long long)q_420,
                       (unsigned long long)q_bytes);
                if (q_count) printf(",\"jpeg_quality\":\"%.0f (%.0f to %.0f)\"", q_sum / q_count, q_min, q_max);
                q_sum = q_max = 0; /* quality is of the time since the last mark */
                q_count = q_420 = q_bytes = 0;
                q_min = 101;
                printf("}\n");
                fflush(stdout);
            }
        }
    }
    FILE *f = fopen(log, "wb");
    if (!f || fwrite(events, sizeof *events, n_events, f) != n_events || fclose(f)) die("log");
    return 0;
}
