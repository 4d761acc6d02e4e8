//! A file with a secret, for a server that reads its secret from one.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file. It is removed when this is dropped.
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// A new file with this content in the folder for temporary files. Only the user may read it.
    pub fn new(secret: &str) -> io::Result<SecretFile> {
        let path = std::env::temp_dir().join(format!("wslink-{:032x}", rand::random::<u128>()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file: File = options.open(&path)?;
        let created = SecretFile(path);
        file.write_all(secret.as_bytes())?;
        Ok(created)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = remove_file(&self.0);
    }
}
