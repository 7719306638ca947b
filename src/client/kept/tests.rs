use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::options::Options;

/// Counts the clients that live.
#[derive(Default)]
struct Living(Arc<AtomicUsize>);

struct Fake {
    living: Arc<AtomicUsize>,
    is_well: AtomicBool,
    name: usize,
}

impl Living {
    fn client(&self, name: usize) -> Fake {
        self.0.fetch_add(1, Ordering::SeqCst);
        Fake {
            living: Arc::clone(&self.0),
            is_well: AtomicBool::new(true),
            name,
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn wait_for(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.count() != count {
            assert!(Instant::now() < end, "{} clients live", self.count());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Reuse for Fake {
    fn renew(&self) -> bool {
        self.is_well.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Another type of client.
struct Other;

impl Reuse for Other {
    fn renew(&self) -> bool {
        true
    }
}

fn session() -> SessionConfig {
    let mut config = SessionConfig::new();
    KeptClients::register(&mut config);
    config
}

fn config(properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config
}

fn options(keep: &str) -> TableOptions {
    let own = Options::new().with_option("kafka.keep_clients", keep);
    TableOptions::parse(&[&own]).unwrap()
}

fn place(session: &SessionConfig, topic: &str) -> Place {
    let place = KeptClients::of(session).place(Some(topic), &config(&[]), &options("10m"));
    place.unwrap()
}

fn taken(session: &SessionConfig, topic: &str) -> Option<usize> {
    place(session, topic).take::<Fake>().map(|fake| fake.name)
}

#[test]
fn a_client_is_taken_by_one_statement_at_a_time_and_last_in_first_out() {
    let (session, living) = (session(), Living::default());
    assert_eq!(taken(&session, "t"), None);
    place(&session, "t").give_back(living.client(1));
    place(&session, "t").give_back(living.client(2));
    let first = place(&session, "t").take::<Fake>().unwrap();
    let second = place(&session, "t").take::<Fake>().unwrap();
    assert_eq!([first.name, second.name], [2, 1]);
    assert_eq!(taken(&session, "t"), None);
    assert!(place(&session, "t").take::<Other>().is_none());
}

#[test]
fn clients_of_other_settings_are_not_shared() {
    let (session, living) = (session(), Living::default());
    let kept = KeptClients::of(&session);
    let own = [("sasl.username", "a"), ("sasl.password", "secret")];
    let place = |topic, properties: &[_], timeout: &str| {
        let own = Options::new().with_option("kafka.timeout", timeout);
        let options = TableOptions::parse(&[&own]).unwrap();
        kept.place(topic, &config(properties), &options).unwrap()
    };
    place(Some("t"), &own, "10s").give_back(living.client(1));
    let elsewhere = [
        place(None, &own, "10s"),
        place(Some("u"), &own, "10s"),
        place(Some("t"), &own, "11s"),
        place(Some("t"), &own[..1], "10s"),
        // A secret, which `ClientConfig` shows as any other secret.
        place(Some("t"), &[own[0], ("sasl.password", "other")], "10s"),
        place(Some("t"), &[own[0], own[1], ("client.id", "x")], "10s"),
    ];
    for place in elsewhere {
        assert!(place.take::<Fake>().is_none());
    }
    assert!(place(Some("t"), &own, "10s").take::<Other>().is_none());
    assert!(place(Some("t"), &own, "10s").take::<Fake>().is_some());
}

#[test]
fn a_client_that_heard_of_a_failure_is_closed_in_favor_of_an_older_one() {
    let (session, living) = (session(), Living::default());
    let broken = living.client(2);
    broken.is_well.store(false, Ordering::SeqCst);
    place(&session, "t").give_back(living.client(1));
    place(&session, "t").give_back(broken);
    assert_eq!(taken(&session, "t"), Some(1));
    assert_eq!(living.count(), 0);
}

#[test]
fn the_least_recently_used_client_is_closed_when_there_are_too_many() {
    let (session, living) = (session(), Living::default());
    for name in 0..50 {
        place(&session, &name.to_string()).give_back(living.client(name));
        assert!(living.count() <= MOST);
    }
    assert_eq!(living.count(), MOST);
    let kept: Vec<_> = (0..50)
        .filter_map(|n| taken(&session, &n.to_string()))
        .collect();
    assert_eq!(kept, (50 - MOST..50).collect::<Vec<_>>());
}

#[test]
fn a_client_is_closed_when_its_time_is_over_or_its_session_ends() {
    let (session, living) = (session(), Living::default());
    let kept = KeptClients::of(&session);
    place(&session, "t").give_back(living.client(1));
    // Shorter than that of the first client, and no statement comes later.
    let short = kept.place(Some("s"), &config(&[]), &options("10ms"));
    short.unwrap().give_back(living.client(2));
    living.wait_for(1);
    let lent = place(&session, "t");
    let other = session.clone();
    drop(session);
    assert_eq!(living.count(), 1);
    drop(other);
    living.wait_for(0);
    // A statement may outlive its session.
    lent.give_back(living.client(3));
    assert_eq!(living.count(), 0);
    assert!(
        kept.place(Some("t"), &config(&[]), &options("10m"))
            .is_none()
    );
}

#[test]
fn nothing_is_kept_unless_a_session_does_so() {
    let plain = KeptClients::of(&SessionConfig::new());
    assert!(
        plain
            .place(Some("t"), &config(&[]), &options("10m"))
            .is_none()
    );
    let session = session();
    let kept = KeptClients::of(&session);
    assert!(kept.place(Some("t"), &config(&[]), &options("0")).is_none());
    // A second registration keeps what is there.
    let (mut again, living) = (session.clone(), Living::default());
    place(&session, "t").give_back(living.client(1));
    KeptClients::register(&mut again);
    assert_eq!(taken(&again, "t"), Some(1));
}
