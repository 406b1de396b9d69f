#include <stdio.h>
#include "spice-core.h"
#include "spice-qxl.h"

SPICE_BEGIN_DECLS

/* A recording that is being replayed. */
typedef struct SpiceReplay SpiceReplay;
