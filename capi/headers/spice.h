/* The one header that programs include. */
#ifndef SPICE_H_
#define SPICE_H_

#define SPICE_H_INSIDE

#include "spice-version.h"
#include "spice-core.h"
#include "spice-server.h"
#include "spice-qxl.h"
#include "spice-input.h"
#include "spice-audio.h"
#include "spice-char.h"
#include "spice-migration.h"
#include "spice-replay.h"

#undef SPICE_H_INSIDE

#endif /* SPICE_H_ */
