//! The HTTP sample: a shop with products to find and orders to track, refund and delete.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Arguments, Offer, Output, changes, reads, tool};

/// Answers by SSE when its caller wants progress; see `http.rs`.
pub const STREAMING: &str = "track_order";

const PRODUCTS: [(&str, &str, u32); 4] = [
    ("p-1", "brass compass", 4_900),
    ("p-2", "sea chart, Øresund", 2_450),
    ("p-3", "signal lamp", 12_800),
    ("p-4", "brass telescope", 31_000),
];

#[derive(Clone, Debug)]
struct Order {
    product: &'static str,
    total_cents: u32,
    refunded_cents: u32,
}

pub struct Shop {
    orders: Mutex<BTreeMap<String, Order>>,
}

impl Default for Shop {
    fn default() -> Self {
        let order = |id: &str, product: usize| {
            let (product, _, total_cents) = PRODUCTS[product];
            (id.to_owned(), Order { product, total_cents, refunded_cents: 0 })
        };
        Shop { orders: Mutex::new([order("1001", 0), order("1002", 2), order("1003", 3)].into()) }
    }
}

impl Offer for Shop {
    fn instructions(&self) -> &'static str {
        "A sample shop: search products; look up, track, refund and delete orders (1001 to 1003 exist)."
    }

    fn tools(&self) -> Value {
        let id = json!({ "type": "string", "description": "the order's number", "examples": ["1001"] });
        let query =
            json!({ "query": { "type": "string", "description": "part of a name", "examples": ["brass"] } });
        let amount =
            json!({ "type": "number", "exclusiveMinimum": 0, "description": "in EUR", "examples": [10] });
        json!([
            tool("search_products", "Finds products by name.", query, reads()),
            tool("get_order", "Shows an order.", json!({ "id": id }), reads()),
            tool(STREAMING, "Follows an order to its door, with progress.", json!({ "id": id }), reads()),
            tool(
                "refund_order",
                "Pays back a part of an order.",
                json!({ "id": id, "amount": amount }),
                changes(false, false)
            ),
            tool("delete_order", "Deletes an order for good.", json!({ "id": id }), changes(true, true)),
        ])
    }

    fn call(&self, tool: &str, arguments: &Arguments) -> Option<Result<Output, String>> {
        Some(match tool {
            "search_products" => arguments.text("query").map(search),
            "get_order" => self.show(arguments),
            STREAMING => self.track(arguments),
            "refund_order" => self.refund(arguments),
            "delete_order" => self.delete(arguments),
            _ => return None,
        })
    }

    fn resources(&self) -> Value {
        json!([{
            "uri": "shop://catalog", "name": "catalog", "mimeType": "application/json", "description": "All products.",
        }])
    }

    fn read(&self, uri: &str) -> Option<(String, &'static str)> {
        (uri == "shop://catalog").then(|| (search("").text, "application/json"))
    }
}

impl Shop {
    fn show(&self, arguments: &Arguments) -> Result<Output, String> {
        self.with(arguments, |id, order| Ok(Output::data(describe(id, order))))
    }

    fn track(&self, arguments: &Arguments) -> Result<Output, String> {
        self.with(arguments, |id, _| Ok(Output::data(json!({ "id": id, "state": "delivered" }))))
    }

    fn refund(&self, arguments: &Arguments) -> Result<Output, String> {
        let amount = arguments.number("amount")?;
        self.with(arguments, |id, order| {
            let left = order.total_cents - order.refunded_cents;
            let cents = (amount * 100.0).round();
            if !(1.0..=f64::from(left)).contains(&cents) {
                return Err(format!("cannot refund {amount} EUR: expected 0.01 to {} EUR", euros(left)));
            }
            order.refunded_cents += cents as u32;
            Ok(Output::data(describe(id, order)))
        })
    }

    fn delete(&self, arguments: &Arguments) -> Result<Output, String> {
        let id = arguments.text("id")?;
        let gone = self.orders.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        gone.map(|_| Output::text(format!("order `{id}` is deleted"))).ok_or_else(|| unknown(id))
    }

    fn with<T>(
        &self,
        arguments: &Arguments,
        act: impl FnOnce(&str, &mut Order) -> Result<T, String>,
    ) -> Result<T, String> {
        let id = arguments.text("id")?;
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.get_mut(id).ok_or_else(|| unknown(id)).and_then(|order| act(id, order))
    }
}

fn unknown(id: &str) -> String {
    format!("there is no order `{id}`")
}

fn search(query: &str) -> Output {
    let query = query.to_lowercase();
    let found = PRODUCTS.iter().filter(|(_, name, _)| name.to_lowercase().contains(&query));
    let found: Vec<Value> = found
        .map(|(id, name, cents)| json!({ "id": id, "name": name, "price_eur": euros(*cents) }))
        .collect();
    Output::data(json!({ "products": found }))
}

fn describe(id: &str, order: &Order) -> Value {
    json!({
        "id": id,
        "product": order.product,
        "total_eur": euros(order.total_cents),
        "refunded_eur": euros(order.refunded_cents),
    })
}

fn euros(cents: u32) -> f64 {
    f64::from(cents) / 100.0
}
