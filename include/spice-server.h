/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_SERVER_H_
#define SPICE_SERVER_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"

SPICE_BEGIN_DECLS

/* Old versions whose features a server may be restricted to. */
typedef enum {
    SPICE_COMPAT_VERSION_0_4 = 0,
    SPICE_COMPAT_VERSION_0_6 = 1,
} spice_compat_version_t;

#define SPICE_COMPAT_VERSION_CURRENT SPICE_COMPAT_VERSION_0_6

typedef struct RedsState SpiceServer;

/* Older names of SpiceImageCompression and its values. */
typedef SpiceImageCompression spice_image_compression_t;
#define SPICE_IMAGE_COMPRESS_INVALID SPICE_IMAGE_COMPRESSION_INVALID
#define SPICE_IMAGE_COMPRESS_OFF SPICE_IMAGE_COMPRESSION_OFF
#define SPICE_IMAGE_COMPRESS_AUTO_GLZ SPICE_IMAGE_COMPRESSION_AUTO_GLZ
#define SPICE_IMAGE_COMPRESS_AUTO_LZ SPICE_IMAGE_COMPRESSION_AUTO_LZ
#define SPICE_IMAGE_COMPRESS_QUIC SPICE_IMAGE_COMPRESSION_QUIC
#define SPICE_IMAGE_COMPRESS_GLZ SPICE_IMAGE_COMPRESSION_GLZ
#define SPICE_IMAGE_COMPRESS_LZ SPICE_IMAGE_COMPRESSION_LZ
#define SPICE_IMAGE_COMPRESS_LZ4 SPICE_IMAGE_COMPRESSION_LZ4

/* When a compression that suits slow links is used; AUTO means on slow links. */
typedef enum {
    SPICE_WAN_COMPRESSION_INVALID,
    SPICE_WAN_COMPRESSION_AUTO,
    SPICE_WAN_COMPRESSION_ALWAYS,
    SPICE_WAN_COMPRESSION_NEVER,
} spice_wan_compression_t;

/* Which moving areas are sent as video; FILTER leaves out what does not look like video. */
enum {
    SPICE_STREAM_VIDEO_INVALID,
    SPICE_STREAM_VIDEO_OFF,
    SPICE_STREAM_VIDEO_ALL,
    SPICE_STREAM_VIDEO_FILTER
};

enum {
    SPICE_STREAMING_INVALID,
    SPICE_STREAMING_SPICE,
    SPICE_STREAMING_GSTREAMER
};

/* Listen on IPv4 only. */
#define SPICE_ADDR_FLAG_IPV4_ONLY 1

/* Listen on IPv6 only. */
#define SPICE_ADDR_FLAG_IPV6_ONLY 2

/* The address is the path of a unix socket; a leading @ names an abstract one. */
#define SPICE_ADDR_FLAG_UNIX_ONLY 4

/* The channel may be used without TLS. */
#define SPICE_CHANNEL_SECURITY_NONE 1

/* The channel may be used with TLS. */
#define SPICE_CHANNEL_SECURITY_SSL 2

/* The version of spice_server_set_compat_version() that this library implements. */
spice_compat_version_t spice_get_current_compat_version(void);

/* Makes a server that listens nowhere and lets nobody in. Never NULL but out of memory. */
SpiceServer *spice_server_new(void);

/* Starts the server on the main loop of the host: opens the sockets that were asked for. The calling thread counts as the
 * main loop's. Returns 0, or -1 and no socket is open. */
int spice_server_init(SpiceServer *s,
                      SpiceCoreInterface *core);

/* Disconnects all clients, removes what is still attached and frees the server; also if it was never started. */
void spice_server_destroy(SpiceServer *s);

/* Restricts the server to features of an old version. Returns 0 for the current version, else -1. */
int spice_server_set_compat_version(SpiceServer *s, spice_compat_version_t version);

/* TCP port to listen on, 0 to 65535. Returns 0, -1 on a bad port. Before spice_server_init(). */
int spice_server_set_port(SpiceServer *s, int port);

/* Address to listen on, "" for any; flags is one of SPICE_ADDR_FLAG_* or 0. Before spice_server_init(). */
void spice_server_set_addr(SpiceServer *s, const char *addr, int flags);

/* A listening socket to use instead of opening one; it stays the host's. Returns 0. */
SPICE_GNUC_DEPRECATED int spice_server_set_listen_socket_fd(SpiceServer *s, int listen_fd);

/* Whether the process exits when a client has gone. Returns 0. */
int spice_server_set_exit_on_disconnect(SpiceServer *s, int flag);

/* Lets clients in without a password. Returns 0. */
int spice_server_set_noauth(SpiceServer *s);

/* Whether clients authenticate by SASL instead of a password. Returns 0, -1 if this build cannot. */
int spice_server_set_sasl(SpiceServer *s, int enabled);

/* Name of the SASL configuration to use, NULL for "spice". Returns 0, -1 if this build cannot. */
int spice_server_set_sasl_appname(SpiceServer *s, const char *appname);

/* Sets the password, at most 60 bytes, and how long it is valid in seconds (0: for ever). NULL lets nobody in.
 * fail_if_connected: change nothing while a client is connected. disconnect_if_connected: disconnect clients first.
 * Returns 0, -1 if refused. */
int spice_server_set_ticket(SpiceServer *s,
                            const char *passwd,
                            int lifetime,
                            int fail_if_connected,
                            int disconnect_if_connected);

/* Port and files (PEM) of the TLS listener; key_passwd, dh_key_file and ciphersuite may be NULL. The files are read by
 * spice_server_init(). Returns 0, -1 on a bad port or a missing file name. */
int spice_server_set_tls(SpiceServer *s,
                         int port,
                         const char *ca_cert_file,
                         const char *certs_file,
                         const char *private_key_file,
                         const char *key_passwd,
                         const char *dh_key_file,
                         const char *ciphersuite);

/* Serves a client on a connected socket, without checking its password if skip_auth is not 0. Returns 0 and the socket
 * belongs to the library, or -1 and it stays the caller's. */
int spice_server_add_client(SpiceServer *s,
                            int socket,
                            int skip_auth);

/* Like spice_server_add_client(), with a TLS handshake first; needs spice_server_set_tls(). */
int spice_server_add_ssl_client(SpiceServer *s, int socket, int skip_auth);

/* Attaches an instance whose interface is one of SPICE_INTERFACE_*. Returns 0, -1 if it was refused. The instance stays
 * the host's and must live until it is removed. */
int spice_server_add_interface(SpiceServer *s,
                               SpiceBaseInstance *sin);

/* Detaches a tablet, QXL, playback, record or character device instance; the library does not use it any more.
 * Returns 0, -1 if it is not attached or cannot be removed. */
int spice_server_remove_interface(SpiceBaseInstance *sin);

/* Default compression of images. A bad value changes nothing. Returns 0. */
int spice_server_set_image_compression(SpiceServer *s, SpiceImageCompression comp);

/* The value of spice_server_set_image_compression(). */
SpiceImageCompression spice_server_get_image_compression(SpiceServer *s);

/* When images may be compressed with loss. Returns 0, -1 on a bad value. */
int spice_server_set_jpeg_compression(SpiceServer *s, spice_wan_compression_t comp);

/* When GLZ images are compressed once more. Returns 0, -1 on a bad value. */
int spice_server_set_zlib_glz_compression(SpiceServer *s, spice_wan_compression_t comp);

/* SPICE_CHANNEL_SECURITY_* bits of a channel type by name ("main", "display", ...), or of all others if channel is NULL.
 * Returns 0, -1 on an unknown name. */
int spice_server_set_channel_security(SpiceServer *s,
                                      const char *channel,
                                      int security);

/* Without effect; "sw" is accepted. Returns 0 or -1. */
SPICE_GNUC_DEPRECATED int spice_server_add_renderer(SpiceServer *s, const char *name);

/* Which moving areas are sent as video (SPICE_STREAM_VIDEO_*). Returns 0, -1 on a bad value. */
int spice_server_set_streaming_video(SpiceServer *s, int value);

/* Video encoders and codecs in order of preference, "encoder:codec;encoder:codec", or "auto". Returns 0, -1 if none
 * of them is known. */
int spice_server_set_video_codecs(SpiceServer *s,
                                  const char *video_codecs);

/* The list of spice_server_set_video_codecs(); to be freed by spice_server_free_video_codecs(). */
const char *spice_server_get_video_codecs(SpiceServer *s);

/* Frees a string of spice_server_get_video_codecs(). */
void spice_server_free_video_codecs(SpiceServer *s, const char *video_codecs);

/* Whether sound output is compressed. Returns 0. */
int spice_server_set_playback_compression(SpiceServer *s, int enable);

/* Whether pointer positions may go through the guest agent. Returns 0. */
int spice_server_set_agent_mouse(SpiceServer *s, int enable);

/* Whether clipboards are shared with the guest. Returns 0. */
int spice_server_set_agent_copypaste(SpiceServer *s, int enable);

/* Whether files may be transferred to the guest. Returns 0. */
int spice_server_set_agent_file_xfer(SpiceServer *s, int enable);

/* Always -1. */
SPICE_GNUC_DEPRECATED int spice_server_get_sock_info(SpiceServer *s, struct sockaddr *sa, socklen_t *salen);

/* Always -1. */
SPICE_GNUC_DEPRECATED int spice_server_get_peer_info(SpiceServer *s, struct sockaddr *sa, socklen_t *salen);

/* 1 if clients send relative pointer motion, 0 if they send positions. */
int spice_server_is_server_mouse(SpiceServer *s);

/* Name of the virtual machine for clients, NULL for none. */
void spice_server_set_name(SpiceServer *s, const char *name);

/* UUID of the virtual machine for clients (16 bytes). */
void spice_server_set_uuid(SpiceServer *s, const uint8_t *uuid);

/* The virtual machine runs. May be called repeatedly. */
void spice_server_vm_start(SpiceServer *s);

/* The virtual machine stopped; on return the library leaves its memory alone. */
void spice_server_vm_stop(SpiceServer *s);

/* Number of clients; 0 for NULL. */
SPICE_GNUC_DEPRECATED int spice_server_get_num_clients(SpiceServer *s);

SPICE_END_DECLS

#endif /* SPICE_SERVER_H_ */
