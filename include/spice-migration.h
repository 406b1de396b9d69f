/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_MIGRATION_H_
#define SPICE_MIGRATION_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"
#include "spice-server.h"

SPICE_BEGIN_DECLS

typedef struct SpiceMigrateInterface SpiceMigrateInterface;
typedef struct SpiceMigrateInstance SpiceMigrateInstance;
typedef struct SpiceMigrateState SpiceMigrateState;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_MIGRATION "migration"

#define SPICE_INTERFACE_MIGRATION_MAJOR 1

#define SPICE_INTERFACE_MIGRATION_MINOR 1

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceMigrateInstance {
  SpiceBaseInstance base;
  SpiceMigrateState *st;
};

/* Completion of the two slow steps of a migration. */
struct SpiceMigrateInterface {
  SpiceBaseInterface base;
  /* Once per spice_server_migrate_connect(): the clients are connected to the target, or will not be. */
  void (*migrate_connect_complete)(struct SpiceMigrateInstance *sin);
  /* After spice_server_migrate_end() with completed set: the clients have left, the host may exit. */
  void (*migrate_end_complete)(struct SpiceMigrateInstance *sin);
};

/* Sets the host that spice_server_migrate_switch() sends the clients to. Only for hosts without a migration interface.
 * Returns 0, -1 on bad arguments. */
SPICE_GNUC_DEPRECATED
int spice_server_migrate_info(SpiceServer *s,
                              const char *dest,
                              int port,
                              int secure_port,
                              const char *cert_subject);

/* Tells the clients to go to the host set by spice_server_migrate_info(). Returns 0. */
SPICE_GNUC_DEPRECATED int spice_server_migrate_switch(SpiceServer *s);

/* Asks the clients to connect to the target as well. Ports are -1 for none. Returns 0, or -1 when nothing was started;
 * migrate_connect_complete is called exactly once either way, unless there is no migration interface. */
int spice_server_migrate_connect(SpiceServer *s,
                                 const char *dest,
                                 int port,
                                 int secure_port,
                                 const char *cert_subject);

/* The virtual machine starts to move. Returns 0, -1 if no target is set. */
int spice_server_migrate_start(SpiceServer *s);

/* The virtual machine has moved (completed not 0) or stays here. migrate_end_complete is called when the clients of a
 * machine that moved have left. Returns 0, -1 if clients had to be disconnected because no target is set. */
int spice_server_migrate_end(SpiceServer *s,
                             int completed);

/* Whether clients may move without reconnecting. Only with one client at a time. */
void spice_server_set_seamless_migration(SpiceServer *s, int enable);

SPICE_END_DECLS

#endif /* SPICE_MIGRATION_H_ */
