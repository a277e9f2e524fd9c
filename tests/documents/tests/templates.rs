//! The blocks in the templates are those of infra/blocks.

use std::fs;

use documents::{repository, templates};

#[test]
fn every_block_is_as_its_source_makes_it() {
    let templates = templates(&repository()).expect("the templates");
    assert!(templates.iter().filter(|template| template.text.contains("cargo ops templates")).count() > 7);
    for template in templates {
        let file = fs::read_to_string(repository().join(&template.path)).expect("a template");
        assert!(file == template.text, "{} differs: run `cargo ops templates`", template.path);
    }
}
