/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_AUDIO_H_
#define SPICE_AUDIO_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"

SPICE_BEGIN_DECLS

typedef struct SpicePlaybackInterface SpicePlaybackInterface;
typedef struct SpicePlaybackInstance SpicePlaybackInstance;
typedef struct SpicePlaybackState SpicePlaybackState;

typedef struct SpiceRecordInterface SpiceRecordInterface;
typedef struct SpiceRecordInstance SpiceRecordInstance;
typedef struct SpiceRecordState SpiceRecordState;

enum {
    SPICE_INTERFACE_AUDIO_FMT_S16 = 1,
};

/* What old hosts assume; spice_server_get_best_playback_rate() tells what is best. */
#define SPICE_INTERFACE_PLAYBACK_FREQ 44100
#define SPICE_INTERFACE_PLAYBACK_CHAN 2
#define SPICE_INTERFACE_PLAYBACK_FMT SPICE_INTERFACE_AUDIO_FMT_S16

#define SPICE_INTERFACE_RECORD_FREQ 44100
#define SPICE_INTERFACE_RECORD_CHAN 2
#define SPICE_INTERFACE_RECORD_FMT SPICE_INTERFACE_AUDIO_FMT_S16

/* Type strings of interfaces. */
#define SPICE_INTERFACE_PLAYBACK "playback"
#define SPICE_INTERFACE_RECORD "record"

#define SPICE_INTERFACE_PLAYBACK_MAJOR 1

#define SPICE_INTERFACE_PLAYBACK_MINOR 3

#define SPICE_INTERFACE_RECORD_MAJOR 2

#define SPICE_INTERFACE_RECORD_MINOR 3

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpicePlaybackInstance {
  SpiceBaseInstance base;
  SpicePlaybackState *st;
};

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceRecordInstance {
  SpiceBaseInstance base;
  SpiceRecordState *st;
};

/* A sound output of the host; it has no callbacks. */
struct SpicePlaybackInterface {
  SpiceBaseInterface base;
};

/* A sound input of the host; it has no callbacks. */
struct SpiceRecordInterface {
  SpiceBaseInterface base;
};

/* The guest starts to play. Nothing happens if it does already. */
void spice_server_playback_start(struct SpicePlaybackInstance *sin);

/* The guest stops playing. Nothing happens if it does not play. */
void spice_server_playback_stop(struct SpicePlaybackInstance *sin);

/* A buffer to put samples (16 bits, stereo) in: *samples and its size in samples, or NULL and 0 when none is wanted now. */
void spice_server_playback_get_buffer(struct SpicePlaybackInstance *sin,
                                      uint32_t **samples,
                                      uint32_t *num_samples);

/* Sends a buffer of spice_server_playback_get_buffer(), which must be full. */
void spice_server_playback_put_samples(struct SpicePlaybackInstance *sin, uint32_t *samples);

/* The volume that the guest set, one value per channel. */
void spice_server_playback_set_volume(struct SpicePlaybackInstance *sin, uint8_t nchannels, uint16_t *volume);

/* Whether the guest muted its output. */
void spice_server_playback_set_mute(struct SpicePlaybackInstance *sin, uint8_t mute);

/* The guest starts to record. Nothing happens if it does already. */
void spice_server_record_start(struct SpiceRecordInstance *sin);

/* The guest stops recording. Nothing happens if it does not record. */
void spice_server_record_stop(struct SpiceRecordInstance *sin);

/* Up to bufsize recorded samples (16 bits, stereo); returns how many there are. */
uint32_t spice_server_record_get_samples(struct SpiceRecordInstance *sin,
                                         uint32_t *samples,
                                         uint32_t bufsize);

/* The recording volume that the guest set, one value per channel. */
void spice_server_record_set_volume(struct SpiceRecordInstance *sin, uint8_t nchannels, uint16_t *volume);

/* Whether the guest muted its input. */
void spice_server_record_set_mute(struct SpiceRecordInstance *sin, uint8_t mute);

/* The sample rate (Hz) that costs clients least; sin may be NULL. */
uint32_t spice_server_get_best_playback_rate(struct SpicePlaybackInstance *sin);

/* Sets the sample rate (Hz) of the stream. */
void spice_server_set_playback_rate(struct SpicePlaybackInstance *sin, uint32_t frequency);

/* The sample rate (Hz) that costs clients least; sin may be NULL. */
uint32_t spice_server_get_best_record_rate(struct SpiceRecordInstance *sin);

/* Sets the sample rate (Hz) of the stream. */
void spice_server_set_record_rate(struct SpiceRecordInstance *sin, uint32_t frequency);

SPICE_END_DECLS

#endif /* SPICE_AUDIO_H_ */
