/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_REPLAY_H_
#define SPICE_REPLAY_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include <stdio.h>
#include "spice-core.h"
#include "spice-qxl.h"

SPICE_BEGIN_DECLS

/* A recording that is being replayed. */
typedef struct SpiceReplay SpiceReplay;

/* The next command of the recording; requests before it are given to the device. NULL at the end. Waits while all
 * nsurfaces surfaces are in use, for spice_replay_free_cmd() on another thread. */
QXLCommandExt *spice_replay_next_cmd(SpiceReplay *replay,
                                     QXLInstance *instance);

/* Frees a command of spice_replay_next_cmd(). */
void spice_replay_free_cmd(SpiceReplay *replay, QXLCommandExt *cmd);

/* Ends the replay and closes its file. */
void spice_replay_free(SpiceReplay *replay);

/* Starts to replay a recording for a device with nsurfaces surfaces. The file then belongs to the library. NULL if it
 * is no recording; the file stays the caller's. */
SpiceReplay *spice_replay_new(FILE *file,
                              int nsurfaces);

SPICE_END_DECLS

#endif /* SPICE_REPLAY_H_ */
