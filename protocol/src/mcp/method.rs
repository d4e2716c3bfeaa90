//! Every method and notification of every revision, in both directions, as one table: the word on the wire, which
//! side may send it, which revisions know it, and which parameter says whom it is for.
//!
//! The decision: one row per method and nothing about methods anywhere else, so that a new revision is a column.

use super::Revision;

/// Which parameter names the thing a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    Nothing,
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.taskId`
    Task,
    /// `params.ref.name` or `params.ref.uri`
    Reference,
}

use Names::{Name, Nothing, Reference, Task, Uri};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const BOTH: u8 = CLIENT | SERVER;

/// Revisions from the first to the last that know a method, as positions in [`Revision::ALL`].
type Known = (u8, u8);
const ALL: Known = (0, 4);
const LEGACY: Known = (0, 3);
const MODERN: Known = (4, 4);
const SINCE_06_18: Known = (2, 3);
const ONLY_11_25: Known = (3, 3);
const SINCE_11_25: Known = (3, 4);

macro_rules! methods {
    ($($variant:ident $text:literal $senders:ident $known:ident $names:ident;)*) => {
        /// What a message asks or tells. `Unknown` is an extension's or a mistake.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Method { $($variant,)* Unknown }

        impl Method {
            /// Every known method, in the order of the table.
            pub const ALL: &[Method] = &[$(Method::$variant),*];

            #[inline]
            pub fn from_bytes(text: &[u8]) -> Method {
                match text {
                    $(_ if text == $text.as_bytes() => Method::$variant,)*
                    _ => Method::Unknown,
                }
            }

            /// The word on the wire; `unknown` for the one that has none.
            pub const fn as_str(self) -> &'static str {
                match self { $(Method::$variant => $text,)* Method::Unknown => "unknown" }
            }

            const fn senders(self) -> u8 {
                match self { $(Method::$variant => $senders,)* Method::Unknown => BOTH }
            }

            const fn known(self) -> Option<Known> {
                match self { $(Method::$variant => Some($known),)* Method::Unknown => None }
            }

            /// Which parameter names the thing this message is about.
            pub const fn names(self) -> Names {
                match self { $(Method::$variant => $names,)* Method::Unknown => Nothing }
            }
        }
    };
}

methods! {
    // What gateways see most comes first: `from_bytes` compares in this order.
    ToolsCall "tools/call" CLIENT ALL Name;
    ToolsList "tools/list" CLIENT ALL Nothing;
    Initialize "initialize" CLIENT LEGACY Nothing;
    NotifyInitialized "notifications/initialized" CLIENT LEGACY Nothing;
    ServerDiscover "server/discover" CLIENT MODERN Nothing;
    Ping "ping" BOTH LEGACY Nothing;
    ResourcesRead "resources/read" CLIENT ALL Uri;
    ResourcesList "resources/list" CLIENT ALL Nothing;
    ResourcesTemplatesList "resources/templates/list" CLIENT ALL Nothing;
    ResourcesSubscribe "resources/subscribe" CLIENT LEGACY Uri;
    ResourcesUnsubscribe "resources/unsubscribe" CLIENT LEGACY Uri;
    PromptsGet "prompts/get" CLIENT ALL Name;
    PromptsList "prompts/list" CLIENT ALL Nothing;
    CompletionComplete "completion/complete" CLIENT ALL Reference;
    LoggingSetLevel "logging/setLevel" CLIENT LEGACY Nothing;
    SubscriptionsListen "subscriptions/listen" CLIENT MODERN Nothing;
    TasksGet "tasks/get" BOTH SINCE_11_25 Task;
    TasksUpdate "tasks/update" CLIENT MODERN Task;
    TasksCancel "tasks/cancel" BOTH SINCE_11_25 Task;
    TasksResult "tasks/result" BOTH ONLY_11_25 Task;
    TasksList "tasks/list" BOTH ONLY_11_25 Nothing;
    SamplingCreateMessage "sampling/createMessage" SERVER LEGACY Nothing;
    ElicitationCreate "elicitation/create" SERVER SINCE_06_18 Nothing;
    RootsList "roots/list" SERVER LEGACY Nothing;
    NotifyCancelled "notifications/cancelled" BOTH ALL Nothing;
    NotifyProgress "notifications/progress" BOTH ALL Nothing;
    NotifyMessage "notifications/message" SERVER ALL Nothing;
    NotifyRootsListChanged "notifications/roots/list_changed" CLIENT LEGACY Nothing;
    NotifyToolsListChanged "notifications/tools/list_changed" SERVER ALL Nothing;
    NotifyPromptsListChanged "notifications/prompts/list_changed" SERVER ALL Nothing;
    NotifyResourcesListChanged "notifications/resources/list_changed" SERVER ALL Nothing;
    NotifyResourcesUpdated "notifications/resources/updated" SERVER ALL Uri;
    NotifySubscriptionsAcknowledged "notifications/subscriptions/acknowledged" SERVER MODERN Nothing;
    NotifyElicitationComplete "notifications/elicitation/complete" SERVER ONLY_11_25 Nothing;
    NotifyTasksStatus "notifications/tasks/status" BOTH ONLY_11_25 Task;
    NotifyTasks "notifications/tasks" SERVER MODERN Task;
}

impl Method {
    /// Spelled as a notification; whether a message is one is decided by its missing id.
    pub const fn is_notification(self) -> bool {
        self as u8 >= Method::NotifyCancelled as u8 && !matches!(self, Method::Unknown)
            || matches!(self, Method::NotifyInitialized)
    }

    pub const fn from_client(self) -> bool {
        self.senders() & CLIENT != 0
    }

    pub const fn from_server(self) -> bool {
        self.senders() & SERVER != 0
    }

    /// Whether the revision, with its official extensions, has this method in either direction.
    pub fn is_known_in(self, revision: Revision) -> bool {
        self.known().is_some_and(|(first, last)| (first..=last).contains(&(revision as u8)))
    }

    /// Which parameter the `Mcp-Name` header must repeat in a 2026-07-28 request.
    pub const fn mirrors(self) -> Names {
        match self {
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead => self.names(),
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => self.names(),
            _ => Nothing,
        }
    }

    /// Methods whose result is a page of a list.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Method::ToolsList
                | Method::ResourcesList
                | Method::ResourcesTemplatesList
                | Method::PromptsList
                | Method::TasksList
        )
    }

    /// Methods that may be answered `input_required` and retried with the client's answers (2026-07-28).
    pub const fn may_require_input(self) -> bool {
        matches!(self, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back() {
        for method in Method::ALL {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), *method);
            assert_eq!(method.is_notification(), method.as_str().starts_with("notifications/"), "{method:?}");
            assert!(method.from_client() || method.from_server());
        }
        for text in ["", "tools/Call", "tools/call ", "unknown", "notifications/"] {
            assert_eq!(Method::from_bytes(text.as_bytes()), Method::Unknown, "{text:?}");
        }
    }

    /// The whole table, so that a change of a row shows as a change here.
    #[test]
    fn revisions_know_their_methods() {
        let cases = [
            (Method::Initialize, "xxxx-"),
            (Method::Ping, "xxxx-"),
            (Method::ServerDiscover, "----x"),
            (Method::ToolsCall, "xxxxx"),
            (Method::ResourcesSubscribe, "xxxx-"),
            (Method::SubscriptionsListen, "----x"),
            (Method::TasksGet, "---xx"),
            (Method::TasksResult, "---x-"),
            (Method::TasksUpdate, "----x"),
            (Method::ElicitationCreate, "--xx-"),
            (Method::NotifyElicitationComplete, "---x-"),
            (Method::Unknown, "-----"),
        ];
        for (method, expected) in cases {
            let found: String =
                Revision::ALL.map(|r| if method.is_known_in(r) { 'x' } else { '-' }).iter().collect();
            assert_eq!(found, expected, "{method:?}");
        }
    }
}
