//! Makes an OpenSSL context from the operator's files. It checks every file and setting, so that one start of the server
//! reports everything that is wrong.
//!
//! Nothing here may ask a terminal for a password: OpenSSL does so for an encrypted file unless it is given a password, and
//! the virtual machine would hang at its start.

use super::TlsConfig;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509NameRef, X509StoreContext};
use std::cmp::Ordering;
use std::io;
use thiserror::Error;

/// Why the configuration cannot be used: each is one thing that the operator has to repair.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("{what} {file}: {error}")]
    Unreadable { what: &'static str, file: String, error: io::Error },
    #[error("{what} {file}: not a PEM file of that kind ({why})")]
    Malformed { what: &'static str, file: String, why: String },
    #[error("{what} {file}: it holds none")]
    Empty { what: &'static str, file: String },
    #[error("{what} {file}: it is encrypted, which only a private key may be")]
    Encrypted { what: &'static str, file: String },
    #[error("{what} {file}: OpenSSL refuses it: {why}")]
    Refused { what: &'static str, file: String, why: String },
    #[error("private key {0}: it is encrypted, and no key password is configured")]
    PasswordMissing(String),
    #[error("private key {0}: the configured key password is wrong, or the file is damaged")]
    PasswordWrong(String),
    #[error("private key {key}: it does not belong to the certificate in {certificate} (subject {subject})")]
    Mismatch { key: String, certificate: String, subject: String },
    #[error("cipher list {list:?}: {why}")]
    Ciphers { list: String, why: String },
    #[error("OpenSSL: {0}")]
    Library(String),
}

/// What may be intended but keeps clients away. The server starts nevertheless, as the original does.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Caution {
    #[error("certificate {file} (subject {subject}) expired on {date}: clients will refuse it")]
    Expired { file: String, subject: String, date: String },
    #[error("certificate {file} (subject {subject}) is not valid before {date}: clients will refuse it")]
    NotYetValid { file: String, subject: String, date: String },
    #[error(
        "certificate {file} (subject {subject}) does not lead to a CA certificate in {ca}: {why}; clients that trust only \
         that file will refuse it"
    )]
    Untrusted { file: String, subject: String, ca: String, why: String },
}

/// A context that can be used.
pub(super) struct Loaded {
    pub context: SslContext,
    pub cautions: Vec<Caution>,
    /// Subject and last day of the server's certificate, for the log.
    pub description: String,
}

/// Reads all files.
pub(super) fn load(config: &TlsConfig) -> Result<Loaded, Vec<Fault>> {
    let mut context = empty_context().map_err(|e| vec![Fault::Library(reasons(&e))])?;
    let mut faults = Vec::new();
    let mut keep = |fault| faults.push(fault);
    let chain = certificates("certificate chain", &config.certs_file).map_err(&mut keep).ok();
    let key = private_key(config).map_err(&mut keep).ok();
    let ca = certificates("CA certificate", &config.ca_cert_file).map_err(&mut keep).ok();
    if let Some(chain) = &chain
        && let Err(e) = use_chain(&mut context, chain)
    {
        keep(Fault::Refused { what: "certificate chain", file: config.certs_file.clone(), why: reasons(&e) });
    }
    if let (Some(key), Some(leaf)) = (&key, chain.as_ref().and_then(|chain| chain.first()))
        && let Err(fault) = use_key(&mut context, key, leaf, config)
    {
        keep(fault);
    }
    if let Some(Err(e)) = ca.as_ref().map(|ca| use_ca(&mut context, ca)) {
        keep(Fault::Refused { what: "CA certificate", file: config.ca_cert_file.clone(), why: reasons(&e) });
    }
    if let Some(file) = &config.dh_key_file
        && let Err(fault) = use_dh(&mut context, file)
    {
        keep(fault);
    }
    if let Some(list) = &config.cipher_suite
        && let Err(e) = context.set_cipher_list(list)
    {
        keep(Fault::Ciphers { list: list.clone(), why: reasons(&e) });
    }
    match (chain, ca) {
        (Some(chain), Some(ca)) if faults.is_empty() => Ok(Loaded {
            context: context.build(),
            cautions: cautions(config, &chain, &ca),
            description: chain.first().map(describe).unwrap_or_default(),
        }),
        _ => Err(faults),
    }
}

/// A context with our settings and none of the operator's.
fn empty_context() -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // Renegotiation by clients costs only the server. Compression leaks secrets by its length. No client resumes sessions.
    context.set_options(
        SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::SINGLE_DH_USE
            | SslOptions::NO_TICKET,
    );
    context.set_num_tickets(0)?;
    context.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    context.set_session_id_context(b"SPICE")?;
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_verify(SslVerifyMode::NONE);
    Ok(context)
}

fn read(what: &'static str, file: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(file).map_err(|error| Fault::Unreadable { what, file: file.into(), error })
}

/// Whether a block of this label has a header that says it is encrypted: OpenSSL would ask for the password.
fn is_encrypted(pem: &[u8], label: &str) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.split("-----BEGIN ").skip(1).any(|block| {
        let block = block.split("-----END").next().unwrap_or_default();
        let (name, body) = block.split_once("-----").unwrap_or_default();
        name.contains(label) && body.contains("Proc-Type:") && body.contains("ENCRYPTED")
    })
}

fn certificates(what: &'static str, file: &str) -> Result<Vec<X509>, Fault> {
    let pem = read(what, file)?;
    if is_encrypted(&pem, "CERTIFICATE") {
        return Err(Fault::Encrypted { what, file: file.into() });
    }
    let all = X509::stack_from_pem(&pem).map_err(|e| Fault::Malformed {
        what,
        file: file.into(),
        why: reasons(&e),
    })?;
    if all.is_empty() { Err(Fault::Empty { what, file: file.into() }) } else { Ok(all) }
}

fn private_key(config: &TlsConfig) -> Result<PKey<Private>, Fault> {
    let file = &config.private_key_file;
    let pem = read("private key", file)?;
    // Without a password an empty one is given: with none at all OpenSSL would ask.
    let password = config.key_password.as_deref().unwrap_or_default();
    PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()).map_err(|e| {
        let encrypted = String::from_utf8_lossy(&pem).contains("ENCRYPTED");
        match &config.key_password {
            None if encrypted => Fault::PasswordMissing(file.clone()),
            Some(_) if encrypted => Fault::PasswordWrong(file.clone()),
            _ => Fault::Malformed { what: "private key", file: file.clone(), why: reasons(&e) },
        }
    })
}

/// The server's certificate first, then those that lead to the CA.
fn use_chain(context: &mut SslContextBuilder, chain: &[X509]) -> Result<(), ErrorStack> {
    if let Some((leaf, others)) = chain.split_first() {
        context.set_certificate(leaf)?;
        for certificate in others {
            context.add_extra_chain_cert(certificate.clone())?;
        }
    }
    Ok(())
}

fn use_key(
    context: &mut SslContextBuilder,
    key: &PKey<Private>,
    leaf: &X509,
    config: &TlsConfig,
) -> Result<(), Fault> {
    if !leaf.public_key().is_ok_and(|public| public.public_eq(key)) {
        return Err(Fault::Mismatch {
            key: config.private_key_file.clone(),
            certificate: config.certs_file.clone(),
            subject: name(leaf.subject_name()),
        });
    }
    context.set_private_key(key).map_err(|e| Fault::Refused {
        what: "private key",
        file: config.private_key_file.clone(),
        why: reasons(&e),
    })
}

/// Client certificates are not asked for: OpenSSL completes our own chain from these.
fn use_ca(context: &mut SslContextBuilder, ca: &[X509]) -> Result<(), ErrorStack> {
    ca.iter().try_for_each(|certificate| context.cert_store_mut().add_cert(certificate.clone()))
}

fn use_dh(context: &mut SslContextBuilder, file: &str) -> Result<(), Fault> {
    let what = "DH parameters";
    let pem = read(what, file)?;
    if is_encrypted(&pem, "DH PARAMETERS") {
        return Err(Fault::Encrypted { what, file: file.into() });
    }
    let dh = Dh::params_from_pem(&pem).map_err(|e| Fault::Malformed {
        what,
        file: file.into(),
        why: reasons(&e),
    })?;
    context.set_tmp_dh(&dh).map_err(|e| Fault::Refused { what, file: file.into(), why: reasons(&e) })
}

/// What makes clients refuse the certificate.
fn cautions(config: &TlsConfig, chain: &[X509], ca: &[X509]) -> Vec<Caution> {
    let Some(leaf) = chain.first() else { return Vec::new() };
    let mut found = Vec::new();
    let (file, subject) = (config.certs_file.clone(), name(leaf.subject_name()));
    let now = Asn1Time::days_from_now(0);
    let is = |time: &Asn1TimeRef, order| {
        now.as_ref().is_ok_and(|now| time.compare(now).is_ok_and(|found| found == order))
    };
    if is(leaf.not_after(), Ordering::Less) {
        let date = leaf.not_after().to_string();
        found.push(Caution::Expired { file: file.clone(), subject: subject.clone(), date });
    }
    if is(leaf.not_before(), Ordering::Greater) {
        let date = leaf.not_before().to_string();
        found.push(Caution::NotYetValid { file: file.clone(), subject: subject.clone(), date });
    }
    if let Some(why) = untrusted(chain, ca) {
        found.push(Caution::Untrusted { file, subject, ca: config.ca_cert_file.clone(), why });
    }
    found
}

/// Why the chain does not lead to the CA, whatever the dates say.
fn untrusted(chain: &[X509], ca: &[X509]) -> Option<String> {
    let leaf = chain.first()?;
    let verdict = || {
        let mut store = X509StoreBuilder::new()?;
        for certificate in ca {
            store.add_cert(certificate.clone())?;
        }
        let mut param = X509VerifyParam::new()?;
        // An operator who names an intermediate certificate as the CA trusts it.
        param.set_flags(X509VerifyFlags::NO_CHECK_TIME | X509VerifyFlags::PARTIAL_CHAIN)?;
        store.set_param(&param)?;
        let mut others = Stack::new()?;
        for certificate in chain.get(1..).unwrap_or_default() {
            others.push(certificate.clone())?;
        }
        let store = store.build();
        X509StoreContext::new()?.init(&store, leaf, &others, |c| {
            let good = c.verify_cert()?;
            Ok((!good).then(|| c.error().error_string().to_owned()))
        })
    };
    verdict().unwrap_or_else(|e: ErrorStack| Some(reasons(&e)))
}

fn describe(certificate: &X509) -> String {
    format!("subject {}, valid until {}", name(certificate.subject_name()), certificate.not_after())
}

/// A name as clients write it in their host subject: `O=Example,CN=server`.
fn name(name: &X509NameRef) -> String {
    let entries = name.entries().map(|entry| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().unwrap_or_default();
        format!("{key}={}", value.escape_debug())
    });
    entries.collect::<Vec<_>>().join(",")
}

/// OpenSSL's errors without their numbers and file names.
pub(super) fn reasons(errors: &ErrorStack) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors.errors() {
        let reason = error.reason().unwrap_or("unknown error");
        let text = match error.data() {
            Some(data) => format!("{reason} ({})", data.escape_debug()),
            None => reason.to_owned(),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "unknown error".into() } else { texts.join(", ") }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
