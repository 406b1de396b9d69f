//! Functions of `spice-audio.h` (devices.md 7.1, 8.1).

use crate::abi::*;
use crate::adapter::sound;
use crate::boundary::{Failure, guard};
use crate::convert;
use crate::handle::{self, Kind, ServerEntry};
use crate::lookup::with_instance;
use spice_server_core::channel::sound::{BEST_RATE, FRAME};
use spice_server_core::warning_limited;
use std::sync::Arc;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_audio.rs"));

/// Runs `body` with the server of an attached instance of the right kind.
fn with_kind<I, T: Failure>(
    function: &'static str,
    sin: *const I,
    is_kind: fn(&Kind) -> bool,
    body: impl FnOnce(&Arc<ServerEntry>) -> T,
) -> T {
    with_instance(function, sin, |instance| {
        if is_kind(&instance.kind) {
            return body(&instance.server);
        }
        warning_limited!("{function}: not an instance of this interface");
        T::VALUE
    })
}

fn with_playback<T: Failure>(
    function: &'static str,
    sin: *const SpicePlaybackInstance,
    body: impl FnOnce(&Arc<ServerEntry>) -> T,
) -> T {
    with_kind(function, sin, |kind| matches!(kind, Kind::Playback), body)
}

fn with_record<T: Failure>(
    function: &'static str,
    sin: *const SpiceRecordInstance,
    body: impl FnOnce(&Arc<ServerEntry>) -> T,
) -> T {
    with_kind(function, sin, |kind| matches!(kind, Kind::Record), body)
}

/// One value per audio channel, or `None` and a warning.
///
/// # Safety
/// `volume` is NULL or points to `count` values.
unsafe fn volumes(function: &'static str, count: u8, volume: *const u16) -> Option<Vec<u16>> {
    // SAFETY: by contract.
    let volumes = unsafe { convert::array(volume, count.into()) };
    if volumes.is_none() {
        warning_limited!("{function}: NULL instead of {count} values");
    }
    volumes
}

/// The guest starts to play. Nothing happens if it does already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    with_playback("spice_server_playback_start", sin, |server| server.playback_start());
}

/// The guest stops playing. Nothing happens if it does not play.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    with_playback("spice_server_playback_stop", sin, |server| server.playback_stop());
}

/// A buffer to put samples (16 bits, stereo) in: *samples and its size in samples, or NULL and 0 when none is wanted now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_get_buffer(
    sin: *mut SpicePlaybackInstance,
    samples: *mut *mut u32,
    num_samples: *mut u32,
) {
    guard("spice_server_playback_get_buffer", || {
        let (mut buffer, mut count) = (std::ptr::null_mut(), 0);
        let instance = handle::instance("spice_server_playback_get_buffer", sin);
        if let Some(instance) = instance.filter(|instance| matches!(instance.kind, Kind::Playback))
            && !samples.is_null()
            && let Some(loan) = instance.server.playback_lend()
        {
            (buffer, count) = (sound::lend(&instance, loan), FRAME as u32);
        }
        // SAFETY: the caller passes NULL or places to write to.
        unsafe {
            if !samples.is_null() {
                samples.write(buffer);
            }
            if !num_samples.is_null() {
                num_samples.write(count);
            }
        }
    });
}

/// Sends a buffer of spice_server_playback_get_buffer(), which must be full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    samples: *mut u32,
) {
    guard("spice_server_playback_put_samples", || {
        // Also of an instance that was removed since: the buffer comes back.
        let instance = handle::find_instance(sin.cast());
        match sound::take_back(samples, instance.as_ref()) {
            None => warning_limited!("spice_server_playback_put_samples: not a buffer that the host holds"),
            Some((samples, loan)) => {
                if let (Some(instance), Some(loan)) = (instance, loan) {
                    instance.server.playback_put(loan, samples);
                }
            }
        }
    });
}

/// The volume that the guest set, one value per channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_volume(
    sin: *mut SpicePlaybackInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    with_playback("spice_server_playback_set_volume", sin, |server| {
        // SAFETY: the caller passes an array of that many values.
        if let Some(volumes) = unsafe { volumes("spice_server_playback_set_volume", nchannels, volume) } {
            server.playback_set_volume(volumes);
        }
    });
}

/// Whether the guest muted its output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_mute(sin: *mut SpicePlaybackInstance, mute: u8) {
    with_playback("spice_server_playback_set_mute", sin, |server| server.playback_set_mute(mute != 0));
}

/// The guest starts to record. Nothing happens if it does already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    with_record("spice_server_record_start", sin, |server| server.record_start());
}

/// The guest stops recording. Nothing happens if it does not record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    with_record("spice_server_record_stop", sin, |server| server.record_stop());
}

/// Up to bufsize recorded samples (16 bits, stereo); returns how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_get_samples(
    sin: *mut SpiceRecordInstance,
    samples: *mut u32,
    bufsize: u32,
) -> u32 {
    with_record("spice_server_record_get_samples", sin, |server| {
        if samples.is_null() {
            return 0;
        }
        let recorded = server.record_samples(bufsize as usize);
        // SAFETY: the caller has room for `bufsize` samples, and there are no more.
        unsafe { convert::fill(samples, recorded.len(), &recorded) };
        u32::try_from(recorded.len()).unwrap_or(0)
    })
}

/// The recording volume that the guest set, one value per channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_volume(
    sin: *mut SpiceRecordInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    with_record("spice_server_record_set_volume", sin, |server| {
        // SAFETY: the caller passes an array of that many values.
        if let Some(volumes) = unsafe { volumes("spice_server_record_set_volume", nchannels, volume) } {
            server.record_set_volume(volumes);
        }
    });
}

/// Whether the guest muted its input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_mute(sin: *mut SpiceRecordInstance, mute: u8) {
    with_record("spice_server_record_set_mute", sin, |server| server.record_set_mute(mute != 0));
}

/// The sample rate (Hz) that costs clients least; sin may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_playback_rate(sin: *mut SpicePlaybackInstance) -> u32 {
    let _ = sin;
    BEST_RATE
}

/// Sets the sample rate (Hz) of the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(sin: *mut SpicePlaybackInstance, frequency: u32) {
    with_playback("spice_server_set_playback_rate", sin, |server| server.set_playback_rate(frequency));
}

/// The sample rate (Hz) that costs clients least; sin may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_record_rate(sin: *mut SpiceRecordInstance) -> u32 {
    let _ = sin;
    BEST_RATE
}

/// Sets the sample rate (Hz) of the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_record_rate(sin: *mut SpiceRecordInstance, frequency: u32) {
    with_record("spice_server_set_record_rate", sin, |server| server.set_record_rate(frequency));
}
