//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::{Value, json};

use super::{ReportBody, ShipmentView};

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/shipments/{order_id}", Who::OwnerOrAdmin, "Where the shipment of an order is")
            .query(
                "include",
                "`address`: also where it goes, while that is held.",
                json!({"enum": ["address"]}),
            )
            .answers::<ShipmentView>(200, "The shipment.", &["Cache-Control"], shipment("scheduled")),
        Operation::post("/v1/shipments/{order_id}/events", Who::Admin, "Report how far a shipment is")
            .takes::<ReportBody>(json!({"status": "shipped", "tracking_number": "1Z0000000000000001"}))
            .answers::<ShipmentView>(200, "The shipment as it is now.", &[], shipment("shipped"))
            .problem(409, "The shipment is not so far, or its order has not completed."),
    ]
}

fn shipment(status: &str) -> Value {
    json!({
        "order_id": "ord_0123456789abcdef0123456789abcdef", "shipment_id": "shp_0123456789abcdef0123456789abcdef",
        "status": status, "carrier": "Ordersaga Parcel", "tracking_number": "1Z0000000000000001",
        "estimated_delivery": "2026-11-26", "updated_at": "2026-11-21T12:00:00Z"
    })
}
