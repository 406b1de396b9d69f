//! The client's side of libsasl2, as spice-gtk uses it.

use crate::ffi::{
    Callback, Connection, SASL_CONTINUE, SASL_OK, SecurityProperties, sasl_decode, sasl_dispose, sasl_encode,
    sasl_setprop,
};
use crate::ffi::{SASL_SEC_PROPS, SASL_SSF_EXTERNAL};
use crate::library::turn;
use libc::{c_char, c_int, c_uint, c_ulong, c_void};
use std::ffi::CString;
use std::ptr;

const SASL_CB_USER: c_ulong = 0x4001;
const SASL_CB_AUTHNAME: c_ulong = 0x4002;
const SASL_CB_PASS: c_ulong = 0x4004;

unsafe extern "C" {
    fn sasl_client_init(callbacks: *const Callback) -> c_int;
    fn sasl_client_new(
        service: *const c_char,
        host: *const c_char,
        local: *const c_char,
        remote: *const c_char,
        callbacks: *const Callback,
        flags: c_uint,
        connection: *mut *mut Connection,
    ) -> c_int;
    fn sasl_client_start(
        connection: *mut Connection,
        mechanisms: *const c_char,
        prompts: *mut *mut c_void,
        output: *mut *const c_char,
        length: *mut c_uint,
        chosen: *mut *const c_char,
    ) -> c_int;
    fn sasl_client_step(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        prompts: *mut *mut c_void,
        output: *mut *const c_char,
        length: *mut c_uint,
    ) -> c_int;
}

pub(super) fn initialise() {
    // SAFETY: no callbacks.
    assert_eq!(unsafe { sasl_client_init(ptr::null()) }, SASL_OK);
}

/// What the callbacks answer.
struct Account {
    user: CString,
    /// A `sasl_secret_t`: the length, then the bytes.
    secret: Vec<c_ulong>,
}

pub(super) struct SaslClient {
    connection: *mut Connection,
    /// They point to each other and stay where they are.
    _account: Box<Account>,
    _callbacks: Box<[Callback; 4]>,
}

unsafe extern "C" fn user(
    context: *mut c_void,
    _id: c_int,
    result: *mut *const c_char,
    length: *mut c_uint,
) -> c_int {
    // SAFETY: the context is the account, the results are places of libsasl2, the length being optional.
    unsafe {
        let account = &*context.cast::<Account>();
        result.write(account.user.as_ptr());
        if !length.is_null() {
            length.write(account.user.as_bytes().len() as c_uint);
        }
    }
    SASL_OK
}

unsafe extern "C" fn password(
    _connection: *mut Connection,
    context: *mut c_void,
    _id: c_int,
    result: *mut *const c_void,
) -> c_int {
    // SAFETY: the context is the account, the result a place of libsasl2.
    unsafe { result.write((*context.cast::<Account>()).secret.as_ptr().cast()) };
    SASL_OK
}

impl SaslClient {
    /// `tls`: the connection is encrypted already; otherwise a layer is wanted.
    pub(super) fn new(name: &str, secret: &str, tls: bool) -> Self {
        let mut words = vec![0; 2 + secret.len() / size_of::<c_ulong>()];
        words[0] = secret.len() as c_ulong;
        // SAFETY: the words behind the first have room for the text.
        unsafe { ptr::copy_nonoverlapping(secret.as_ptr(), words.as_mut_ptr().add(1).cast(), secret.len()) };
        let account = Box::new(Account { user: CString::new(name).unwrap(), secret: words });
        let context: *mut c_void = ptr::from_ref(&*account).cast_mut().cast();
        // SAFETY: libsasl2 calls each with the arguments of its id.
        let (user, password) = unsafe {
            let user: unsafe extern "C" fn(_, _, _, _) -> _ = user;
            let password: unsafe extern "C" fn(_, _, _, _) -> _ = password;
            (
                std::mem::transmute::<
                    unsafe extern "C" fn(*mut c_void, c_int, *mut *const c_char, *mut c_uint) -> c_int,
                    unsafe extern "C" fn() -> c_int,
                >(user),
                std::mem::transmute::<
                    unsafe extern "C" fn(*mut Connection, *mut c_void, c_int, *mut *const c_void) -> c_int,
                    unsafe extern "C" fn() -> c_int,
                >(password),
            )
        };
        let callback = |id, function| Callback { id, function, context };
        let callbacks = Box::new([
            callback(SASL_CB_USER, Some(user)),
            callback(SASL_CB_AUTHNAME, Some(user)),
            callback(SASL_CB_PASS, Some(password)),
            callback(0, None),
        ]);
        let mut connection = ptr::null_mut();
        let _turn = turn();
        // SAFETY: strings and callbacks that outlive the connection.
        let code = unsafe {
            sasl_client_new(
                c"spice".as_ptr(),
                c"localhost".as_ptr(),
                c"127.0.0.1;40000".as_ptr(),
                c"127.0.0.1;5900".as_ptr(),
                callbacks.as_ptr(),
                0x0004,
                &raw mut connection,
            )
        };
        assert_eq!(code, SASL_OK);
        let properties = SecurityProperties {
            min_ssf: if tls { 0 } else { 56 },
            max_ssf: if tls { 0 } else { 256 },
            max_buffer: 100_000,
            flags: 0,
            property_names: ptr::null(),
            property_values: ptr::null(),
        };
        let bits: c_uint = if tls { 256 } else { 0 };
        // SAFETY: properties with their types.
        unsafe {
            assert_eq!(sasl_setprop(connection, SASL_SSF_EXTERNAL, ptr::from_ref(&bits).cast()), SASL_OK);
            assert_eq!(sasl_setprop(connection, SASL_SEC_PROPS, ptr::from_ref(&properties).cast()), SASL_OK);
        }
        Self { connection, _account: account, _callbacks: callbacks }
    }

    /// What goes with the mechanism's name.
    pub(super) fn start(&mut self, mechanism: &str) -> Option<Vec<u8>> {
        let mechanism = CString::new(mechanism).unwrap();
        let (mut output, mut length, mut chosen) = (ptr::null(), 0, ptr::null());
        let mut prompts = ptr::null_mut();
        let _turn = turn();
        // SAFETY: a connection, a string, and places for the results.
        let code = unsafe {
            sasl_client_start(
                self.connection,
                mechanism.as_ptr(),
                &raw mut prompts,
                &raw mut output,
                &raw mut length,
                &raw mut chosen,
            )
        };
        assert!(code == SASL_OK || code == SASL_CONTINUE, "client: {code}");
        taken(output, length)
    }

    /// The answer to what the server says.
    pub(super) fn step(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let (mut output, mut length) = (ptr::null(), 0);
        let mut prompts = ptr::null_mut();
        let mut data = data.to_vec();
        data.push(0);
        let _turn = turn();
        // SAFETY: a connection, bytes with their length, and places for the results.
        let code = unsafe {
            sasl_client_step(
                self.connection,
                data.as_ptr().cast(),
                data.len() as c_uint - 1,
                &raw mut prompts,
                &raw mut output,
                &raw mut length,
            )
        };
        assert!(code == SASL_OK || code == SASL_CONTINUE, "client: {code}");
        taken(output, length)
    }

    pub(super) fn encode(&mut self, data: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for part in data.chunks(4096) {
            let (mut output, mut length) = (ptr::null(), 0);
            // SAFETY: a connection, bytes with their length, and places for the results.
            let code = unsafe {
                sasl_encode(
                    self.connection,
                    part.as_ptr().cast(),
                    part.len() as c_uint,
                    &raw mut output,
                    &raw mut length,
                )
            };
            assert_eq!(code, SASL_OK);
            all.extend(taken(output, length).unwrap_or_default());
        }
        all
    }

    pub(super) fn decode(&mut self, data: &[u8]) -> Vec<u8> {
        let (mut output, mut length) = (ptr::null(), 0);
        // SAFETY: a connection, bytes with their length, and places for the results.
        let code = unsafe {
            sasl_decode(
                self.connection,
                data.as_ptr().cast(),
                data.len() as c_uint,
                &raw mut output,
                &raw mut length,
            )
        };
        assert_eq!(code, SASL_OK);
        taken(output, length).unwrap_or_default()
    }
}

fn taken(output: *const c_char, length: c_uint) -> Option<Vec<u8>> {
    // SAFETY: NULL or so many bytes.
    (!output.is_null())
        .then(|| unsafe { std::slice::from_raw_parts(output.cast(), length as usize) }.to_vec())
}

impl Drop for SaslClient {
    fn drop(&mut self) {
        // SAFETY: made by sasl_client_new.
        unsafe { sasl_dispose(&raw mut self.connection) };
    }
}
