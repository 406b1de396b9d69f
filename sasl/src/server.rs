//! The server's side of one connection.

use crate::ffi::{self, Connection, SASL_CONTINUE, SASL_NOMEM, SASL_OK};
use crate::library::{text, turn};
use crate::{MAX_BUFFER, MIN_SSF, SaslError};
use libc::{c_char, c_int, c_uint, c_void};
use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::{self, NonNull};

/// What protects the connection already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing: mechanisms must not show the password and must bring a security layer of [`MIN_SSF`] bits or more.
    Plain,
    /// Encryption with a key of so many bits: any mechanism will do, without a layer of its own.
    Encrypted { bits: u32 },
}

/// What the client is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The exchange goes on. `None` is no data, which is not the same as an empty text.
    Continue(Option<Vec<u8>>),
    /// The client is who it says.
    Done(Option<Vec<u8>>),
}

/// The server's side of one connection. May be used by one thread after the other. Every call may take as long as the
/// administrator's user database does.
pub struct SaslServer {
    connection: NonNull<Connection>,
    /// Plain bytes that one packet of the security layer takes.
    max_plain: usize,
}

// SAFETY: libsasl2 ties no connection to a thread, and `&mut self` keeps two threads from using one at the same time. What
// connections share is behind its locks, or ours (see `library`).
unsafe impl Send for SaslServer {}

impl fmt::Debug for SaslServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaslServer")
    }
}

impl Drop for SaslServer {
    fn drop(&mut self) {
        let mut connection = self.connection.as_ptr();
        // SAFETY: made by sasl_server_new, and disposed of only here.
        unsafe { ffi::sasl_dispose(&raw mut connection) };
    }
}

impl SaslServer {
    /// A new exchange. Addresses are `host;port`; mechanisms that need them are left out if they are missing. Needs
    /// [`crate::initialise`].
    pub fn new(
        service: &str,
        local: Option<&str>,
        remote: Option<&str>,
        security: Security,
    ) -> Result<Self, SaslError> {
        let string = |what, text: &str| CString::new(text).map_err(|_| SaslError::Nul(what));
        let service = string("the service's name", service)?;
        let local = local.map(|address| string("an address", address)).transpose()?;
        let remote = remote.map(|address| string("an address", address)).transpose()?;
        let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let mut connection = ptr::null_mut();
        let guard = turn();
        // SAFETY: strings that outlive the call, which copies them, or NULL where that is allowed.
        let code = unsafe {
            ffi::sasl_server_new(
                service.as_ptr(),
                ptr::null(),
                ptr::null(),
                pointer(&local),
                pointer(&remote),
                ptr::null(),
                ffi::SASL_SUCCESS_DATA,
                &raw mut connection,
            )
        };
        let Some(connection) = NonNull::new(connection).filter(|_| code == SASL_OK) else {
            // SAFETY: the text is a constant of libsasl2.
            let detail = unsafe { text(ffi::sasl_errstring(code, ptr::null(), ptr::null_mut())) };
            return Err(SaslError::Failed { call: "sasl_server_new", detail });
        };
        drop(guard);
        let mut server = Self { connection, max_plain: 0 };
        server.set_security(security)?;
        Ok(server)
    }

    fn set_security(&mut self, security: Security) -> Result<(), SaslError> {
        // Whoever wants clients without a name switches authentication off; a plugin that happens to be installed does not.
        let never = ffi::SASL_SEC_NOANONYMOUS;
        let (min_ssf, max_ssf, flags) = match security {
            Security::Encrypted { bits } => {
                self.set("SASL_SSF_EXTERNAL", ffi::SASL_SSF_EXTERNAL, &bits)?;
                (0, 0, never)
            }
            Security::Plain => (MIN_SSF, c_uint::from(u16::MAX), never | ffi::SASL_SEC_NOPLAINTEXT),
        };
        let properties = ffi::SecurityProperties {
            min_ssf,
            max_ssf,
            max_buffer: MAX_BUFFER,
            flags,
            property_names: ptr::null(),
            property_values: ptr::null(),
        };
        self.set("SASL_SEC_PROPS", ffi::SASL_SEC_PROPS, &properties)
    }

    /// Sets a property, which libsasl2 copies. The type is the one that the property has.
    fn set<T>(&mut self, call: &'static str, property: c_int, value: &T) -> Result<(), SaslError> {
        // SAFETY: a connection of ours, a property and the type of its value.
        let code =
            unsafe { ffi::sasl_setprop(self.connection.as_ptr(), property, ptr::from_ref(value).cast()) };
        self.check(call, code)
    }

    fn get(&mut self, property: c_int) -> Option<NonNull<c_void>> {
        let mut value = ptr::null();
        // SAFETY: a connection of ours; the result points into it.
        let code = unsafe { ffi::sasl_getprop(self.connection.as_ptr(), property, &raw mut value) };
        NonNull::new(value.cast_mut()).filter(|_| code == SASL_OK)
    }

    fn number(&mut self, property: c_int) -> u32 {
        // SAFETY: the properties asked for here are unsigned numbers inside of the connection.
        self.get(property).map_or(0, |value| unsafe { value.cast::<c_uint>().read() })
    }

    fn check(&mut self, call: &'static str, code: c_int) -> Result<(), SaslError> {
        match code {
            SASL_OK => Ok(()),
            SASL_NOMEM => Err(SaslError::NoMemory),
            _ => {
                // SAFETY: a connection of ours; the text lives in it.
                let detail = unsafe { text(ffi::sasl_errdetail(self.connection.as_ptr())) };
                Err(SaslError::Failed { call, detail })
            }
        }
    }

    /// The names of the mechanisms, with a comma before, between and after them. An error if there is none: nobody could
    /// come in.
    pub fn mechanisms(&mut self) -> Result<String, SaslError> {
        let _turn = turn();
        let (mut list, mut length, mut count) = (ptr::null(), 0, 0);
        let comma = c",".as_ptr();
        // SAFETY: a connection of ours, strings, and places for the results, the first of which lives in the connection.
        let code = unsafe {
            ffi::sasl_listmech(
                self.connection.as_ptr(),
                ptr::null(),
                comma,
                comma,
                comma,
                &raw mut list,
                &raw mut length,
                &raw mut count,
            )
        };
        self.check("sasl_listmech", code)?;
        // SAFETY: a string on success.
        Ok(unsafe { CStr::from_ptr(list) }.to_string_lossy().into_owned())
    }

    /// The client chose a mechanism. `data` is what it says first; `None` is nothing, which is not the same as an empty text.
    pub fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<Reply, SaslError> {
        let mechanism = CString::new(mechanism).map_err(|_| SaslError::Nul("the mechanism's name"))?;
        self.exchange("sasl_server_start", data, |connection, input, length, output, out_length| {
            // SAFETY: `exchange` passes a connection of ours, bytes with their length, and places for the results.
            unsafe {
                ffi::sasl_server_start(connection, mechanism.as_ptr(), input, length, output, out_length)
            }
        })
    }

    /// The client answered.
    pub fn step(&mut self, data: Option<&[u8]>) -> Result<Reply, SaslError> {
        self.exchange("sasl_server_step", data, |connection, input, length, output, out_length| {
            // SAFETY: `exchange` passes a connection of ours, bytes with their length, and places for the results.
            unsafe { ffi::sasl_server_step(connection, input, length, output, out_length) }
        })
    }

    fn exchange(
        &mut self,
        call: &'static str,
        data: Option<&[u8]>,
        step: impl FnOnce(*mut Connection, *const c_char, c_uint, *mut *const c_char, *mut c_uint) -> c_int,
    ) -> Result<Reply, SaslError> {
        let data = data.map(terminated).transpose()?;
        let length = data.as_ref().map_or(0, |data| data.len().saturating_sub(1));
        let length = c_uint::try_from(length).map_err(|_| SaslError::TooLong)?;
        let input = data.as_ref().map_or(ptr::null(), |data| data.as_ptr().cast());
        let (mut output, mut out_length) = (ptr::null(), 0);
        let code = {
            let _turn = turn();
            step(self.connection.as_ptr(), input, length, &raw mut output, &raw mut out_length)
        };
        if code != SASL_CONTINUE {
            self.check(call, code)?;
        }
        // SAFETY: on success libsasl2 gives NULL or so many bytes, which live until the next call.
        let reply = (!output.is_null()).then(|| unsafe { bytes(output, out_length) });
        let reply = reply.map(copied).transpose()?;
        if code == SASL_CONTINUE {
            return Ok(Reply::Continue(reply));
        }
        self.max_plain = usize::try_from(self.number(ffi::SASL_MAXOUTBUF)).unwrap_or(0);
        Ok(Reply::Done(reply))
    }

    /// Whom the client proved to be, after [`Reply::Done`].
    pub fn user_name(&mut self) -> Option<String> {
        let name = self.get(ffi::SASL_USERNAME)?;
        // SAFETY: this property is a string inside of the connection.
        Some(unsafe { text(name.cast::<c_char>().as_ptr()) })
    }

    /// Bits of strength of the security layer, after [`Reply::Done`]; 0: there is none, and bytes stay as they are.
    pub fn ssf(&mut self) -> u32 {
        self.number(ffi::SASL_SSF)
    }

    /// Wraps bytes for the client and appends them to `out`: as many as one packet takes, the number of which is returned.
    pub fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, SaslError> {
        let size = plain.len().min(self.max_plain);
        let part = plain.get(..size).unwrap_or_default();
        self.convert("sasl_encode", ffi::sasl_encode, part, out)?;
        Ok(size)
    }

    /// Unwraps bytes of the client and appends what they hold to `out`. Packets may come in any pieces.
    pub fn decode(&mut self, wrapped: &[u8], out: &mut Vec<u8>) -> Result<(), SaslError> {
        self.convert("sasl_decode", ffi::sasl_decode, wrapped, out)
    }

    fn convert(
        &mut self,
        call: &'static str,
        function: unsafe extern "C" fn(
            *mut Connection,
            *const c_char,
            c_uint,
            *mut *const c_char,
            *mut c_uint,
        ) -> c_int,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SaslError> {
        let length = c_uint::try_from(input.len()).map_err(|_| SaslError::TooLong)?;
        if length == 0 {
            return Ok(());
        }
        let (mut output, mut out_length) = (ptr::null(), 0);
        // SAFETY: a connection of ours, bytes with their length, and places for the results.
        let code = unsafe {
            function(
                self.connection.as_ptr(),
                input.as_ptr().cast(),
                length,
                &raw mut output,
                &raw mut out_length,
            )
        };
        self.check(call, code)?;
        if !output.is_null() {
            // SAFETY: on success libsasl2 gives NULL or so many bytes, which live until the next call.
            let produced = unsafe { bytes(output, out_length) };
            out.try_reserve(produced.len()).map_err(|_| SaslError::NoMemory)?;
            out.extend_from_slice(produced);
        }
        Ok(())
    }
}

/// The bytes and a NUL, which some mechanisms count on.
fn terminated(data: &[u8]) -> Result<Vec<u8>, SaslError> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(data.len().saturating_add(1)).map_err(|_| SaslError::NoMemory)?;
    copy.extend_from_slice(data);
    copy.push(0);
    Ok(copy)
}

fn copied(data: &[u8]) -> Result<Vec<u8>, SaslError> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(data.len()).map_err(|_| SaslError::NoMemory)?;
    copy.extend_from_slice(data);
    Ok(copy)
}

/// # Safety
/// `data` points to `length` bytes that do not change as long as the result is used.
unsafe fn bytes<'a>(data: *const c_char, length: c_uint) -> &'a [u8] {
    let length = usize::try_from(length).unwrap_or(0);
    // SAFETY: by contract; not NULL, as the callers have looked.
    unsafe { std::slice::from_raw_parts(data.cast(), length) }
}
