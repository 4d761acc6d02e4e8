//! Makes authorities and certificates for a test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Valid from and until the first of January of these years.
pub const VALID: (i32, i32) = (2020, 2120);

/// A certificate and its key in PEM.
pub struct Signed {
    pub pem: String,
    pub key: String,
}

/// A certificate that may issue others.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    /// A self-signed authority, or one that `above` has signed.
    pub fn new(name: &str, above: Option<&Authority>) -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = match above {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, &above.issuer),
        };
        Authority { pem: certificate.unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, names: &[&str], years: (i32, i32)) -> Signed {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).into()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "subject of a test");
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        Signed { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
