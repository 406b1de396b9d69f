//! Where the shared object with the encoders is.

use std::ffi::{CStr, OsStr, OsString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// File name of the shared object.
pub const FILE_NAME: &str = "libspice-server-gst.so";

/// Names the shared object in place of all other places; empty: there is none. Ignored in programs with raised privileges.
pub const VARIABLE: &str = "SPICE_SERVER_VIDEO_PLUGIN";

/// Folder below the library's own where it may be, too.
const FOLDER: &str = "spice-server";

/// Folder below a library folder where the dynamic loader looks for builds for newer processors first (ld.so(8)).
const HWCAPS: &str = "glibc-hwcaps";

/// The library folder that the build was told, for programs that link the static library: they have no folder beside them.
const LIBDIR: Option<&str> = option_env!("SPICE_SERVER_LIBDIR");

/// The shared object to load, if one is installed.
#[must_use]
pub fn find() -> Option<PathBuf> {
    match variable() {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => candidates(own_folder().as_deref()).into_iter().find(|path| path.is_file()),
    }
}

/// Where to look, first place first, for a library in `own`. Builds of the library for newer processors lie in folders of their
/// own below, and take the same shared object.
fn candidates(own: Option<&Path>) -> Vec<PathBuf> {
    let builds = own.and_then(Path::parent).filter(|builds| builds.ends_with(HWCAPS));
    let folders = own
        .into_iter()
        .chain(builds.and_then(Path::parent))
        .map(Path::to_owned)
        .chain(LIBDIR.map(PathBuf::from));
    folders.flat_map(|folder| [folder.join(FILE_NAME), folder.join(FOLDER).join(FILE_NAME)]).collect()
}

fn variable() -> Option<OsString> {
    // SAFETY: getauxval has no conditions.
    let raised = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if raised { None } else { std::env::var_os(VARIABLE) }
}

/// The folder of the library or program that this code is part of.
fn own_folder() -> Option<PathBuf> {
    let here: fn() -> Option<PathBuf> = own_folder;
    // SAFETY: all fields of the structure may be zero; dladdr takes any address and fills the structure if it returns
    // nonzero; the name then ends with NUL and lives as long as the object, which holds the code that runs here.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(here as *const c_void, &raw mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes()).to_owned()
    };
    // A name without a folder is that of a program found through PATH, or of a library in the working folder, which is
    // no place to load code from.
    let folder = Path::new(&name).parent()?;
    folder.is_absolute().then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_library_and_in_its_folder() {
        let found = candidates(Some(Path::new("/usr/lib/x")));
        assert_eq!(found[0], Path::new("/usr/lib/x/libspice-server-gst.so"));
        assert_eq!(found[1], Path::new("/usr/lib/x/spice-server/libspice-server-gst.so"));
    }

    #[test]
    fn a_build_for_a_newer_processor_also_looks_beside_the_plain_one() {
        let found = candidates(Some(Path::new("/usr/lib/x/glibc-hwcaps/x86-64-v3")));
        assert_eq!(found[2], Path::new("/usr/lib/x/libspice-server-gst.so"));
        assert_eq!(found[3], Path::new("/usr/lib/x/spice-server/libspice-server-gst.so"));
    }

    #[test]
    fn the_own_folder_is_that_of_this_program() {
        let program = std::env::current_exe().unwrap();
        assert_eq!(own_folder().as_deref(), program.parent());
    }
}
