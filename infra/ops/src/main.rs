use clap::Parser;

/// Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

#[tokio::main]
async fn main() {
    let result = ops::Cli::parse().run().await;
    let code = match result {
        Ok(()) => 0,
        Err(ops::Error::Interrupted) => INTERRUPTED,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    };
    // At once: a supervisor's read of its standard input would keep the runtime waiting.
    std::process::exit(code);
}
