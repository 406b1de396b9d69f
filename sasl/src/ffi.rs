//! The C declarations of `sasl/sasl.h` (2.1.26 and later).

use libc::{c_char, c_int, c_uint, c_ulong, c_void};

/// `sasl_conn_t`.
#[repr(C)]
pub(crate) struct Connection {
    _opaque: [u8; 0],
}

/// `sasl_callback_t`.
#[repr(C)]
pub(crate) struct Callback {
    pub id: c_ulong,
    /// Its arguments depend on the id.
    pub function: Option<unsafe extern "C" fn() -> c_int>,
    pub context: *mut c_void,
}

/// `sasl_security_properties_t`.
#[repr(C)]
pub(crate) struct SecurityProperties {
    pub min_ssf: c_uint,
    pub max_ssf: c_uint,
    pub max_buffer: c_uint,
    pub flags: c_uint,
    pub property_names: *const *const c_char,
    pub property_values: *const *const c_char,
}

pub(crate) const SASL_OK: c_int = 0;
pub(crate) const SASL_CONTINUE: c_int = 1;
pub(crate) const SASL_FAIL: c_int = -1;
pub(crate) const SASL_NOMEM: c_int = -2;

/// Flag of `sasl_server_new`: the last answer may carry data.
pub(crate) const SASL_SUCCESS_DATA: c_uint = 0x0004;

pub(crate) const SASL_SEC_NOPLAINTEXT: c_uint = 0x0001;
pub(crate) const SASL_SEC_NOANONYMOUS: c_uint = 0x0010;

// Properties.
pub(crate) const SASL_USERNAME: c_int = 0;
pub(crate) const SASL_SSF: c_int = 1;
pub(crate) const SASL_MAXOUTBUF: c_int = 2;
pub(crate) const SASL_SSF_EXTERNAL: c_int = 100;
pub(crate) const SASL_SEC_PROPS: c_int = 101;

unsafe extern "C" {
    pub(crate) fn sasl_set_mutex(
        alloc: unsafe extern "C" fn() -> *mut c_void,
        lock: unsafe extern "C" fn(*mut c_void) -> c_int,
        unlock: unsafe extern "C" fn(*mut c_void) -> c_int,
        free: unsafe extern "C" fn(*mut c_void),
    );
    pub(crate) fn sasl_server_init(callbacks: *const Callback, app_name: *const c_char) -> c_int;
    pub(crate) fn sasl_errstring(
        code: c_int,
        languages: *const c_char,
        language: *mut *const c_char,
    ) -> *const c_char;
    pub(crate) fn sasl_errdetail(connection: *mut Connection) -> *const c_char;
    pub(crate) fn sasl_server_new(
        service: *const c_char,
        host: *const c_char,
        realm: *const c_char,
        local: *const c_char,
        remote: *const c_char,
        callbacks: *const Callback,
        flags: c_uint,
        connection: *mut *mut Connection,
    ) -> c_int;
    pub(crate) fn sasl_dispose(connection: *mut *mut Connection);
    pub(crate) fn sasl_setprop(connection: *mut Connection, property: c_int, value: *const c_void) -> c_int;
    pub(crate) fn sasl_getprop(
        connection: *mut Connection,
        property: c_int,
        value: *mut *const c_void,
    ) -> c_int;
    pub(crate) fn sasl_listmech(
        connection: *mut Connection,
        user: *const c_char,
        prefix: *const c_char,
        separator: *const c_char,
        suffix: *const c_char,
        result: *mut *const c_char,
        length: *mut c_uint,
        count: *mut c_int,
    ) -> c_int;
    pub(crate) fn sasl_server_start(
        connection: *mut Connection,
        mechanism: *const c_char,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    pub(crate) fn sasl_server_step(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    pub(crate) fn sasl_encode(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    pub(crate) fn sasl_decode(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
}
