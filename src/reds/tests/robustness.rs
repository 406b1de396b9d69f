use super::harness::*;
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// This process's descriptors of sockets whose local port is this: other tests run beside.
fn descriptors(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let own = format!(":{port:04X}");
    let inodes: BTreeSet<String> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&own).then(|| format!("socket:[{}]", fields[9]))
        })
        .collect();
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
    links.filter(|link| link.to_str().is_some_and(|link| inodes.contains(link))).count()
}

/// Processor time of the calling thread, in steps of 10 ms, whatever else the machine does.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

#[test]
fn reconnects_leave_nothing_behind() {
    let host = Host::start(|_| {});
    let cycle = || {
        let main = host.main();
        let mut inputs = host.inputs(&main);
        inputs.send(101, &[0x1e, 0, 0, 0]);
        drop(main);
        inputs.rest();
    };
    cycle();
    for _ in 0..200 {
        cycle();
    }
    host.wait("all ends", |h| h.event_kinds().iter().all(|k| k == "123"));
    host.run(|s| {
        s.core.read(|s| {
            assert!(s.links.next_deadline(s.now).is_none() && s.channels.is_unused() && s.clients.is_empty());
            assert!(s.effects.is_empty());
        });
    });
    // Mailbox, listener.
    assert_eq!(host.event_loop.watches(), 2);
}

#[test]
fn floods_of_connections_do_not_hurt_a_live_client() {
    let host = Host::start(|_| {});
    let mut main = host.main();
    main.round_trip();
    let port = host.port;
    let limit = host.run(|server| server.core.with(|s| s.links.limit()));
    let count = limit + 100;
    let flood = std::thread::spawn(move || {
        let mut all = Vec::new();
        for i in 0..count {
            let mut client = Client::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
            // Half of them stall, at any byte.
            let bytes = link_bytes(1, 0, 0, 0x0b);
            let _ = std::io::Write::write(&mut *client.socket, &bytes[..i % bytes.len()]);
            all.push(client);
        }
        all
    });
    // What the host's thread did between a question and its answer.
    let mut worst = Duration::ZERO;
    let mut round_trip = || {
        let before = host.run(|_| thread_time());
        main.round_trip();
        worst = worst.max(host.run(|_| thread_time()) - before);
    };
    while !flood.is_finished() {
        round_trip();
    }
    let all = flood.join().unwrap();
    host.wait("the cap", |h| h.event_kinds().iter().filter(|k| *k == "13").count() >= count - limit);
    round_trip();
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    drop(all);
    host.wait("all ends", |h| h.event_kinds().iter().filter(|k| *k == "13").count() == count);
    // And a good client still gets in.
    host.main();
}

#[test]
fn parallel_good_links_all_succeed() {
    let host = Host::start(|_| {});
    let mut main = host.main();
    let session = main.session;
    let port = host.port;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..25 {
                    let mut client = Client::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
                    assert_eq!(client.link(3, 0, session, b""), 0);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    main.round_trip();
}

#[test]
fn client_that_reads_nothing_is_ended_by_its_backlog_or_silence() {
    let host = Host::start(|_| {});
    let mut main = host.connect();
    assert_eq!(main.link(1, 0, 0, b""), 0);
    // Never reads; asks for ever more.
    let (ours, _) = (main.session, ());
    assert_eq!(ours, 0);
    let ask = [104, 0, 0, 0, 0, 0].repeat(1000);
    let start = Instant::now();
    while host.run(|s| s.num_clients()) == 1 && start.elapsed() < Duration::from_millis(300) {
        let _ = std::io::Write::write(&mut *main.socket, &ask);
    }
    host.advance(Duration::from_secs(31));
    host.advance(Duration::from_secs(31));
    host.wait("its end", |h| h.run(|s| s.num_clients()) == 0);
}

#[test]
fn descriptors_are_given_back() {
    let host = Host::start(|_| {});
    for _ in 0..300 {
        host.main();
    }
    host.wait("all ends", |h| h.event_kinds().iter().all(|k| k == "123"));
    host.wait("only the listener is open", |h| descriptors(h.port) == 1);
}
