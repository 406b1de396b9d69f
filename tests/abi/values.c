/* Calls the configuration functions with edge values and prints what they return. The original and this library must
 * print the same (server.md 1.2). Calls that crash the original are in misuse.c. */
#include <spice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOW(call) printf("%s -> %d\n", #call, (int)(call))

static void codecs(SpiceServer *s)
{
    const char *list = spice_server_get_video_codecs(s);
    printf("codecs \"%s\"\n", list);
    spice_server_free_video_codecs(s, list);
}

int main(void)
{
    SpiceServer *s = spice_server_new();

    SHOW(spice_get_current_compat_version());
    SHOW(spice_server_set_compat_version(s, SPICE_COMPAT_VERSION_0_6));
    SHOW(spice_server_set_compat_version(s, SPICE_COMPAT_VERSION_0_4));
    SHOW(spice_server_set_port(s, -1));
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_set_port(s, 65535));
    SHOW(spice_server_set_port(s, 65536));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_set_exit_on_disconnect(s, 0));
    SHOW(spice_server_get_image_compression(s));
    for (int value = 0; value < 8; value++) {
        SHOW(spice_server_set_image_compression(s, value));
        SHOW(spice_server_get_image_compression(s));
    }
    SHOW(spice_server_set_image_compression(s, 99));
    SHOW(spice_server_get_image_compression(s));
    for (int value = 1; value < 4; value++) {
        SHOW(spice_server_set_jpeg_compression(s, value));
        SHOW(spice_server_set_zlib_glz_compression(s, value));
    }
    for (int value = -1; value < 5; value++) {
        SHOW(spice_server_set_streaming_video(s, value));
    }
    static const char *const channels[] = { "main", "display", "inputs", "cursor", "playback", "record", "usbredir",
        "port", "webdav", "Main", "", "nothing", "smartcard" };
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        printf("%s: ", channels[i]);
        SHOW(spice_server_set_channel_security(s, channels[i], SPICE_CHANNEL_SECURITY_SSL));
    }
    SHOW(spice_server_set_channel_security(s, NULL, 3));
    SHOW(spice_server_set_channel_security(s, NULL, 0));
    SHOW(spice_server_add_renderer(s, "gl"));
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_add_renderer(s, "sw"));
    codecs(s);
    static const char *const lists[] = { "auto", "spice:mjpeg", "gstreamer:mjpeg", "gstreamer:vp8", "gstreamer:h264",
        "gstreamer:vp9", "spice:vp8", "spice:h264", "spice:vp9", "gstreamer:vp8;spice:mjpeg;", "gstreamer:h264;gstreamer:vp8;spice:mjpeg",
        "spice:mjpeg;spice:mjpeg", "spice:mjpeg;;gstreamer:vp8", ";spice:mjpeg", "auto;spice:mjpeg", "", ";", ":", "spice", "spice:",
        ":mjpeg", "mjpeg", "vp8", "AUTO", "Spice:mjpeg", "spice:MJPEG", "spice:mjpeg:x", "spice : mjpeg", " spice:mjpeg",
        "spice:mjpeg ", "spice:mjpeg,gstreamer:vp8", "gst:vp8", "gstreamer:av1", "none", "gstreamer:", "gstreamer", "gst:h264",
        "gstreamer:vp8;spice:mjpeg", "spice:vp8;bogus:x", "bogus:x;spice:mjpeg", "gstreamer:h264;gstreamer:h264",
        "spice:mjpeg;;gstreamer:h264;", ";;", "spice:mjpeg x", "spice:mjpeg ;gstreamer:h264 ", "spice:mjpeg,gstreamer:h264" };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        SpiceServer *fresh = spice_server_new();
        printf("\"%s\": ", lists[i]);
        SHOW(spice_server_set_video_codecs(fresh, lists[i]));
        codecs(fresh);
        spice_server_destroy(fresh);
        /* On a server that keeps the list from before if this one is refused. */
        SHOW(spice_server_set_video_codecs(s, lists[i]));
        codecs(s);
    }
    SHOW(spice_server_set_sasl(s, 0));
    SHOW(spice_server_set_video_codecs(s, "bogus"));
    codecs(s);
    SHOW(spice_server_set_video_codecs(s, "spice:mjpeg;bogus:codec"));
    codecs(s);
    SHOW(spice_server_set_video_codecs(s, ""));
    codecs(s);
    SHOW(spice_server_set_playback_compression(s, 5));
    SHOW(spice_server_set_agent_mouse(s, 0));
    SHOW(spice_server_set_agent_copypaste(s, 0));
    SHOW(spice_server_set_agent_file_xfer(s, 0));
    SHOW(spice_server_set_tls(s, 0, "a", "b", "c", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 65536, "a", "b", "c", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5000, NULL, "b", "c", NULL, NULL, NULL));
    SHOW(spice_server_get_sock_info(s, NULL, NULL));
    SHOW(spice_server_get_peer_info(s, NULL, NULL));
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_get_num_clients(s));
    SHOW(spice_server_get_num_clients(NULL));
    spice_server_set_addr(s, "127.0.0.1", 0);
    spice_server_set_name(s, "name");
    spice_server_set_name(s, NULL);
    spice_server_set_uuid(s, (const uint8_t *)"0123456789abcdef");
    char longest[62];
    memset(longest, 'x', sizeof longest);
    longest[60] = 0;
    SHOW(spice_server_set_ticket(s, longest, 0, 0, 0));
    longest[60] = 'x';
    longest[61] = 0;
    SHOW(spice_server_set_ticket(s, longest, 0, 0, 0));
    SHOW(spice_server_set_ticket(s, NULL, 1, 0, 0));
    SHOW(spice_server_set_ticket(s, "secret", 0x7fffffff, 1, 1));
    SHOW(spice_server_get_best_playback_rate(NULL));
    SHOW(spice_server_get_best_record_rate(NULL));
    for (const char **subtype = spice_server_char_device_recognized_subtypes(); *subtype; subtype++) {
        printf("subtype %s\n", *subtype);
    }
    SHOW(spice_server_remove_interface(NULL));
    spice_server_destroy(s);
    return 0;
}
