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
