/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_QXL_H_
#define SPICE_QXL_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"

SPICE_BEGIN_DECLS

/* Bytes of the capabilities given to set_client_capabilities. */
#ifndef SPICE_CAPABILITIES_SIZE
#define SPICE_CAPABILITIES_SIZE (sizeof(((QXLRom*)0)->client_capabilities))
#endif

typedef struct QXLInterface QXLInterface;
typedef struct QXLInstance QXLInstance;
typedef struct QXLState QXLState;
typedef struct QXLWorker QXLWorker;
typedef struct QXLDevMemSlot QXLDevMemSlot;
typedef struct QXLDevSurfaceCreate QXLDevSurfaceCreate;
typedef struct QXLDevInitInfo QXLDevInitInfo;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_QXL "qxl"

#define SPICE_INTERFACE_QXL_MAJOR 3

#define SPICE_INTERFACE_QXL_MINOR 3

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct QXLInstance {
  SpiceBaseInstance base;
  /* Number of the display channel. */
  int id;
  QXLState *st;
};

/* A range of memory that guest addresses may point into. */
struct QXLDevMemSlot {
  uint32_t slot_group_id;
  uint32_t slot_id;
  /* Addresses of another generation are refused. */
  uint32_t generation;
  /* First byte of the range in the host's process. */
  uintptr_t virt_start;
  /* End of the range, exclusive. */
  uintptr_t virt_end;
  /* Added to the offset in an address to get the host's address. */
  uint64_t addr_delta;
  /* Not used. */
  uint32_t qxl_ram_size;
};

/* The primary surface: the screen. */
struct QXLDevSurfaceCreate {
  /* Pixels. */
  uint32_t width;
  /* Pixels. */
  uint32_t height;
  /* Bytes from row to row; negative when the bottom row comes first in memory. */
  int32_t stride;
  /* SPICE_SURFACE_FMT_*. */
  uint32_t format;
  /* Not used. */
  uint32_t position;
  /* Not 0: clients may use absolute pointer positions on it. */
  uint32_t mouse_mode;
  /* QXL_SURF_FLAG_* bits. */
  uint32_t flags;
  /* Not used. */
  uint32_t type;
  /* Address of the lowest byte of the pixels. */
  uint64_t mem;
  /* Memslot group of mem. */
  uint32_t group_id;
};

/* Properties of a device, asked for when it is added. */
struct QXLDevInitInfo {
  uint32_t num_memslots_groups;
  /* Slots in each group. */
  uint32_t num_memslots;
  /* Bits of an address that hold the slot's generation, below the slot id. */
  uint8_t memslot_gen_bits;
  /* Topmost bits of an address, which hold the slot id. */
  uint8_t memslot_id_bits;
  /* Hint for clients (bytes). */
  uint32_t qxl_ram_size;
  /* Reserved slot; not used. */
  uint8_t internal_groupslot_id;
  /* Number of surfaces, the primary included. */
  uint32_t n_surfaces;
};

/* A graphics device of the host. From get_command to set_client_capabilities the callbacks run on the device's
 * worker thread; hosts must not wait there for a lock that they hold during calls into the library. */
struct QXLInterface {
  SpiceBaseInterface base;
  /* The worker exists: spice_qxl_* may be called. From within spice_server_add_interface(). */
  union {
    void (*attached_worker)(QXLInstance *qin);
    void (*attache_worker)(QXLInstance *qin, QXLWorker *qxl_worker) SPICE_GNUC_DEPRECATED;
  };
  /* 1 when images are compressed with QUIC and there are no video streams, else 0. */
  void (*set_compression_level)(struct QXLInstance *qin, int level);
  /* Never called. */
  void (*set_mm_time)(struct QXLInstance *qin, uint32_t mm_time) SPICE_GNUC_DEPRECATED;
  /* Fills in the properties of the device. */
  void (*get_init_info)(struct QXLInstance *qin, struct QXLDevInitInfo *info);
  /* Takes the next command off the display ring; 0 when it is empty. Must not block. */
  int (*get_command)(struct QXLInstance *qin, QXLCommandExt *cmd);
  /* Asks for spice_qxl_wakeup() when the display ring gets a command. 0: it has one already. */
  int (*req_cmd_notification)(struct QXLInstance *qin);
  /* Gives the memory of a command back, exactly once per command. */
  void (*release_resource)(struct QXLInstance *qin, QXLReleaseInfoExt release_info);
  /* Like get_command, for the cursor ring. */
  int (*get_cursor_command)(struct QXLInstance *qin, QXLCommandExt *cmd);
  /* Like req_cmd_notification, for the cursor ring. */
  int (*req_cursor_notification)(struct QXLInstance *qin);
  /* An update command of the guest has been rendered. */
  void (*notify_update)(struct QXLInstance *qin, uint32_t update_id);
  /* Pushes collected releases to the guest, which is out of memory; returns how many. */
  int (*flush_resources)(struct QXLInstance *qin);
  /* An asynchronous call is done. */
  void (*async_complete)(struct QXLInstance *qin, uint64_t cookie);
  /* Changed areas, right before the completion of spice_qxl_update_area_async(). */
  void (*update_area_complete)(struct QXLInstance *qin,
                               uint32_t surface_id,
                               QXLRect *updated_rects,
                               uint32_t num_updated_rects);
  /* What all connected clients can do, SPICE_CAPABILITIES_SIZE bytes; since version 3.2. */
  void (*set_client_capabilities)(struct QXLInstance *qin, uint8_t client_present, uint8_t *caps);
  /* A client's wish for monitors. Returns 1 if the guest takes such wishes; NULL only asks for that. Since
   * version 3.3. */
  int (*client_monitors_config)(struct QXLInstance *qin, VDAgentMonitorsConfig *monitors_config);
};

/* The rings have commands. */
void spice_qxl_wakeup(struct QXLInstance *instance);

/* The guest is out of memory: commands are released as soon as possible, then flush_resources is called. */
void spice_qxl_oom(struct QXLInstance *instance);

/* Starts one device; spice_server_vm_start() starts all. */
SPICE_GNUC_DEPRECATED void spice_qxl_start(struct QXLInstance *instance);

/* Stops one device; spice_server_vm_stop() stops all. */
SPICE_GNUC_DEPRECATED void spice_qxl_stop(struct QXLInstance *instance);

/* Renders everything drawn in area into the surface's memory and waits for it. dirty_rects gets all changed areas of the
 * surface (the last one covers what does not fit, unused ones are zeros); clear_dirty_region forgets them. */
void spice_qxl_update_area(struct QXLInstance *instance,
                           uint32_t surface_id,
                           QXLRect *area,
                           QXLRect *dirty_rects,
                           uint32_t num_dirty_rects,
                           uint32_t clear_dirty_region);

/* Lets addresses of the guest point into a range of memory, and waits until that is so. */
void spice_qxl_add_memslot(struct QXLInstance *instance, struct QXLDevMemSlot *slot);

/* Takes back what spice_qxl_add_memslot() did. */
void spice_qxl_del_memslot(struct QXLInstance *instance, uint32_t slot_group_id, uint32_t slot_id);

/* Takes back all memslots. */
void spice_qxl_reset_memslots(struct QXLInstance *instance);

/* Destroys all surfaces and waits for it; no command is held afterwards. */
void spice_qxl_destroy_surfaces(struct QXLInstance *instance);

/* Destroys the primary surface and waits for it. */
void spice_qxl_destroy_primary_surface(struct QXLInstance *instance, uint32_t surface_id);

/* Makes the primary surface, the screen, and waits for it. */
void spice_qxl_create_primary_surface(struct QXLInstance *instance,
                                      uint32_t surface_id,
                                      struct QXLDevSurfaceCreate *surface);

/* Forgets images that were decoded for rendering. */
void spice_qxl_reset_image_cache(struct QXLInstance *instance);

/* Forgets the pointer and releases its command. */
void spice_qxl_reset_cursor(struct QXLInstance *instance);

/* Renders what depends on the surface and drops what is drawn on it; the surface itself stays. */
void spice_qxl_destroy_surface_wait(struct QXLInstance *instance, uint32_t surface_id);

/* Processes surface and cursor commands that were alive when the machine's state was saved. */
void spice_qxl_loadvm_commands(struct QXLInstance *instance, QXLCommandExt *ext, uint32_t count);

/* Like spice_qxl_update_area(); the changed areas go to update_area_complete, then comes async_complete. */
void spice_qxl_update_area_async(struct QXLInstance *instance,
                                 uint32_t surface_id,
                                 QXLRect *qxl_area,
                                 uint32_t clear_dirty_region,
                                 uint64_t cookie);

/* Like spice_qxl_add_memslot(), reported by async_complete. */
void spice_qxl_add_memslot_async(struct QXLInstance *instance, struct QXLDevMemSlot *slot, uint64_t cookie);

/* Like spice_qxl_destroy_surfaces(), reported by async_complete. */
void spice_qxl_destroy_surfaces_async(struct QXLInstance *instance, uint64_t cookie);

/* Like spice_qxl_destroy_primary_surface(), reported by async_complete. */
void spice_qxl_destroy_primary_surface_async(struct QXLInstance *instance,
                                             uint32_t surface_id,
                                             uint64_t cookie);

/* Like spice_qxl_create_primary_surface(), reported by async_complete. */
void spice_qxl_create_primary_surface_async(struct QXLInstance *instance,
                                            uint32_t surface_id,
                                            struct QXLDevSurfaceCreate *surface,
                                            uint64_t cookie);

/* Like spice_qxl_destroy_surface_wait() for any surface, reported by async_complete. */
void spice_qxl_destroy_surface_async(struct QXLInstance *instance, uint32_t surface_id, uint64_t cookie);

/* Renders everything into the memory of all surfaces, reported by async_complete. */
void spice_qxl_flush_surfaces_async(struct QXLInstance *instance, uint64_t cookie);

/* The guest's monitors, at an address of the guest; reported by async_complete. */
void spice_qxl_monitors_config_async(struct QXLInstance *instance,
                                     QXLPHYSICAL monitors_config,
                                     int group_id,
                                     uint64_t cookie);

/* The guest's driver is gone: the library describes the monitors again. */
void spice_qxl_driver_unload(struct QXLInstance *instance);

/* Limits the number of monitors; spice_qxl_set_device_info() replaces it. */
SPICE_GNUC_DEPRECATED
void spice_qxl_set_max_monitors(struct QXLInstance *instance,
                                unsigned int max_monitors);

/* The screen is in a dmabuf, which then belongs to the library; fd -1: it is not. */
void spice_qxl_gl_scanout(struct QXLInstance *qxl,
                          int fd,
                          uint32_t width,
                          uint32_t height,
                          uint32_t stride,
                          uint32_t format,
                          int y_0_top);

/* An area of the scanout changed; async_complete comes when all clients have shown it. */
void spice_qxl_gl_draw_async(struct QXLInstance *qxl,
                             uint32_t x,
                             uint32_t y,
                             uint32_t w,
                             uint32_t h,
                             uint64_t cookie);

/* Where the device is: "pci/DOMAIN/SLOT.FUNCTION/..." with the bridges before it, in hexadecimal digits (4, 2 and 1 of
 * them); and which displays of the device the monitors of this interface are: monitor i is display
 * device_display_id_start + i, of device_display_id_count. Since 0.14.2. */
void spice_qxl_set_device_info(struct QXLInstance *instance,
                               const char *device_address,
                               uint32_t device_display_id_start,
                               uint32_t device_display_id_count);

/* The screen is in num_planes dmabufs, which then belong to the library: fd, offset and stride have num_planes values
 * each. num_planes 0: the screen is in no dmabuf, the arrays may be NULL. Since 0.16.0. */
void spice_qxl_gl_scanout2(struct QXLInstance *qxl,
                           const int *fd,
                           uint32_t width,
                           uint32_t height,
                           const uint32_t *offset,
                           const uint32_t *stride,
                           uint32_t num_planes,
                           uint32_t format,
                           uint64_t modifier,
                           int y_0_top);

SPICE_END_DECLS

#endif /* SPICE_QXL_H_ */
