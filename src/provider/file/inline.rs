//! Names of files are replaced by their contents, so that every peer has them.

use std::fs;

use crate::config::dynamic::Configuration;
use crate::config::value::FileOrContent;

/// Largest file that is taken in.
const SIZE_MAX: u64 = 4 << 20;

/// What came of putting contents in the place of names.
#[derive(Default)]
pub(super) struct Inlined {
    pub(super) problems: Vec<String>,
    /// There was a name of a file.
    pub(super) any: bool,
}

/// Puts contents in the place of names. What cannot be read stays a name and is reported.
pub(super) fn contents(configuration: &mut Configuration) -> Inlined {
    let mut inlined = Inlined::default();
    let mut put = |place: &str, value: &mut FileOrContent| {
        inlined.any |= value.is_path();
        if let Err(problem) = content(value) {
            inlined.problems.push(format!("{place}: {problem}"));
        }
    };
    if let Some(tls) = &mut configuration.tls {
        for (number, pair) in tls.certificates.iter_mut().enumerate() {
            put(&format!("tls.certificates[{number}].certFile"), &mut pair.cert_file);
            put(&format!("tls.certificates[{number}].keyFile"), &mut pair.key_file);
        }
        for (name, options) in &mut tls.options {
            for file in options.client_auth.iter_mut().flat_map(|auth| &mut auth.ca_files) {
                put(&format!("tls.options.{name}.clientAuth.caFiles"), file);
            }
        }
        for (name, store) in &mut tls.stores {
            if let Some(pair) = &mut store.default_certificate {
                put(&format!("tls.stores.{name}.defaultCertificate.certFile"), &mut pair.cert_file);
                put(&format!("tls.stores.{name}.defaultCertificate.keyFile"), &mut pair.key_file);
            }
        }
    }
    if let Some(tcp) = &mut configuration.tcp {
        let transports = tcp.servers_transports.iter_mut();
        for (name, tls) in transports.filter_map(|(name, one)| Some((name, one.tls.as_mut()?))) {
            for file in &mut tls.root_cas {
                put(&format!("tcp.serversTransports.{name}.tls.rootCAs"), file);
            }
            for pair in &mut tls.certificates {
                let place = format!("tcp.serversTransports.{name}.tls.certificates");
                put(&format!("{place}.certFile"), &mut pair.cert_file);
                put(&format!("{place}.keyFile"), &mut pair.key_file);
            }
        }
    }
    let Some(http) = &mut configuration.http else { return inlined };
    for (name, transport) in &mut http.servers_transports {
        for file in &mut transport.root_cas {
            put(&format!("http.serversTransports.{name}.rootCAs"), file);
        }
        for pair in &mut transport.certificates {
            put(
                &format!("http.serversTransports.{name}.certificates.certFile"),
                &mut pair.cert_file,
            );
            put(&format!("http.serversTransports.{name}.certificates.keyFile"), &mut pair.key_file);
        }
    }
    for (name, middleware) in &mut http.middlewares {
        if let Some(auth) = &mut middleware.basic_auth {
            put(&format!("http.middlewares.{name}.basicAuth.usersFile"), &mut auth.users_file);
        }
        if let Some(auth) = &mut middleware.digest_auth {
            put(&format!("http.middlewares.{name}.digestAuth.usersFile"), &mut auth.users_file);
        }
        let forward = middleware.forward_auth.as_mut().and_then(|auth| auth.tls.as_mut());
        let redis = middleware.rate_limit.as_mut().and_then(|limit| limit.redis.as_mut());
        for (option, tls) in [
            ("forwardAuth", forward),
            ("rateLimit.redis", redis.and_then(|redis| redis.tls.as_mut())),
        ] {
            let Some(tls) = tls else { continue };
            put(&format!("http.middlewares.{name}.{option}.tls.ca"), &mut tls.ca);
            put(&format!("http.middlewares.{name}.{option}.tls.cert"), &mut tls.cert);
            put(&format!("http.middlewares.{name}.{option}.tls.key"), &mut tls.key);
        }
    }
    inlined
}

fn content(value: &mut FileOrContent) -> Result<(), String> {
    if !value.is_path() {
        return Ok(());
    }
    let name = value.as_str();
    let size = fs::metadata(name).map_err(|error| format!("{name}: {error}"))?.len();
    if size > SIZE_MAX {
        return Err(format!("{name}: {size} bytes, {SIZE_MAX} at most"));
    }
    let mut text = fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
    // A content of one line must not look like a name to the next reader.
    if !text.contains('\n') {
        text.push('\n');
    }
    *value = FileOrContent(text);
    Ok(())
}
