//! Helpers of this crate's tests: a runtime, a router called without a socket, a folder of one's own.

use std::fs::DirBuilder;
use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use strait_table::rules::{Caps, Listener, Rules};
use tower_service::Service;

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub async fn send(router: Router, request: Request<Body>) -> Response {
    router.into_service().call(request).await.unwrap()
}

/// The least that is a table: a listener and an admin address.
pub fn rules() -> Rules {
    let listener = Listener {
        name: "main".into(),
        bind: "127.0.0.1:0".into(),
        public: None,
        hosts: vec!["localhost".into()],
        origins: Vec::new(),
        tls: None,
    };
    Rules {
        listeners: vec![listener],
        admin_bind: "127.0.0.1:0".into(),
        body_bytes_max: 1 << 20,
        caps: Caps::default(),
        ..Rules::default()
    }
}

/// A fresh folder, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("strait-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
