//! The words that figures are told apart by. Enums, so that no request can invent one.

use strait_protocol::mcp::Method;

macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$means:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$means])* $variant,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The word in labels.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

labels! {
    /// What was asked, in as many kinds as differ in what they cost.
    MethodClass {
        ToolsCall "tools_call",
        /// `prompts/get`, `resources/read`, `completion/complete`.
        Get "get",
        List "list",
        /// What opens, keeps and ends a session, and `server/discover`.
        Session "session",
        /// Notifications, and methods we do not know.
        Other "other",
        /// Refused before anyone looked at the body.
        Unread "unread",
    }
}

labels! {
    /// How an exchange ended.
    Outcome {
        Ok "ok",
        /// The upstream answered, with a JSON-RPC error of its own.
        Error "error",
        /// The request, its caller or the policy stood against it.
        Refused "refused",
        /// A cap was reached, or the gateway is about to end.
        Overloaded "overloaded",
        /// The upstream did not answer as it should.
        UpstreamFault "upstream_fault",
        ClientGone "client_gone",
        /// A fault of ours.
        Internal "internal",
    }
}

labels! {
    /// Where between us and an upstream a call failed.
    Layer {
        /// Control has no address for it.
        Resolve "resolve",
        Connect "connect",
        /// Bytes stopped, in either direction.
        Transport "transport",
        Timeout "timeout",
        Http "http",
        /// It answered something that is not the answer.
        Mcp "mcp",
        /// A child did not start, or ended.
        Process "process",
        /// Too much waits for it already.
        Busy "busy",
    }
}

labels! {
    /// How whoever asks is known: the kind of identity that let them in. Not which: callers are many, have several roles each, and
    /// are not for everybody who may see figures.
    CallerKind {
        /// Not yet, or nobody believes it.
        Unknown "unknown",
        /// To a server that asks for no credential.
        Anonymous "anonymous",
        Key "api_key",
        Jwt "jwt",
        Introspection "introspection",
        Mtls "mtls",
    }
}

labels! {
    /// What policy said.
    Decision {
        Permit "permit",
        Deny "deny",
        Hold "hold",
        /// It was not asked: the request was refused before.
        None "none",
    }
}

labels! {
    /// What a candidate's decision is beside the live one.
    Difference {
        Same "same",
        /// The live edition refuses, the candidate permits.
        Opens "opens",
        Closes "closes",
        /// The same outcome, by another rule or for another reason.
        OtherRule "other_rule",
    }
}

impl MethodClass {
    pub const fn of(method: Method) -> MethodClass {
        match method {
            Method::ToolsCall => MethodClass::ToolsCall,
            Method::PromptsGet | Method::ResourcesRead | Method::CompletionComplete => MethodClass::Get,
            Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList => MethodClass::List,
            Method::Initialize
            | Method::NotifyInitialized
            | Method::ServerDiscover
            | Method::Ping
            | Method::SubscriptionsListen
            | Method::LoggingSetLevel => MethodClass::Session,
            _ => MethodClass::Other,
        }
    }
}
