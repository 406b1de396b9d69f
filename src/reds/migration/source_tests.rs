use super::*;
use std::time::Duration;

const A: ClientId = ClientId(1);
const B: ClientId = ClientId(2);

fn target() -> MigrationTarget {
    MigrationTarget { port: 1, host: "there".into(), ..MigrationTarget::default() }
}

fn now() -> Instant {
    Instant::now()
}

fn connected(clients: &[(ClientId, Ability)]) -> Source {
    let mut source = Source::default();
    let begun = source.connect(target(), clients.to_vec(), now());
    assert_eq!(begun.iter().filter(|action| matches!(action, Action::Begin(..))).count(), clients.len());
    source
}

#[test]
fn without_capable_clients_the_host_hears_at_once() {
    let mut source = Source::default();
    assert_eq!(source.connect(target(), [], now()), [Action::ConnectComplete]);
    assert_eq!(source.end(true, &[], now()), (vec![Action::EndComplete], Ok(())));
    let old = [(A, Ability::SwitchHost)];
    assert_eq!(source.connect(target(), old, now()), [Action::ConnectComplete]);
    assert_eq!(source.end(true, &[A], now()), (vec![Action::SwitchHost(A)], Ok(())));
    assert_eq!(source.gone(A), [Action::EndComplete]);
    assert!(source.target().is_none() && source.deadline().is_none());
}

#[test]
fn each_client_goes_as_far_as_it_can() {
    let mut source = connected(&[(A, Ability::Seamless), (B, Ability::Semi)]);
    assert_eq!(source.answered(A, Answer::ConnectedSeamless), []);
    assert_eq!(source.answered(B, Answer::Connected), [Action::ConnectComplete]);
    assert_eq!(source.deadline(), None);
    let (actions, known) = source.end(true, &[A, B], now());
    assert_eq!((actions, known), (vec![Action::HandOver(A), Action::End(B)], Ok(())));
    assert_eq!(source.gone(B), []);
    assert_eq!(source.gone(A), [Action::EndComplete]);
    assert_eq!(source.gone(A), [], "once");
}

#[test]
fn a_client_whose_target_refuses_seamless_begins_anew_there() {
    let mut source = connected(&[(A, Ability::Seamless)]);
    assert_eq!(source.answered(A, Answer::Connected), [Action::ConnectComplete]);
    assert_eq!(source.end(true, &[A], now()).0, [Action::End(A)]);
    let mut source = connected(&[(A, Ability::Semi)]);
    source.answered(A, Answer::ConnectedSeamless);
    assert_eq!(source.end(true, &[A], now()).0, [Action::End(A)], "it was not asked for more");
}

#[test]
fn a_client_that_does_not_get_through_switches_hosts() {
    let mut source = connected(&[(A, Ability::Semi)]);
    assert_eq!(source.answered(A, Answer::Failed), [Action::ConnectComplete]);
    assert_eq!(source.answered(A, Answer::Failed), []);
    assert_eq!(source.end(true, &[A], now()).0, [Action::SwitchHost(A)]);
}

#[test]
fn a_client_that_came_later_switches_hosts() {
    let mut source = connected(&[(A, Ability::Semi)]);
    source.answered(A, Answer::Connected);
    assert_eq!(source.gone(A), []);
    assert_eq!(source.end(true, &[B], now()).0, [Action::SwitchHost(B)]);
}

#[test]
fn silent_clients_are_not_waited_for() {
    let begin = now();
    let mut source = Source::default();
    source.connect(target(), [(A, Ability::Semi), (B, Ability::Arriving)], begin);
    let due = source.deadline().unwrap();
    assert_eq!(due, begin + MIGRATION_CONNECT_TIMEOUT);
    assert_eq!(source.on_timer(due - Duration::from_millis(1)), []);
    let late = "it never finished an earlier migration";
    let expected = [Action::Cancel(A), Action::Drop(B, late), Action::ConnectComplete];
    assert_eq!(source.on_timer(due), expected);
    assert_eq!(source.answered(A, Answer::Connected), [Action::Cancel(A)], "too late");
    assert_eq!(source.end(true, &[A], due).0, [Action::SwitchHost(A)]);
    let due = source.deadline().unwrap();
    let stays = "the machine has moved and it did not follow";
    assert_eq!(source.on_timer(due), [Action::Drop(A, stays), Action::EndComplete]);
    assert_eq!(source.gone(A), []);
}

#[test]
fn a_failed_migration_lets_clients_stay() {
    let mut source = connected(&[(A, Ability::Semi), (B, Ability::Semi)]);
    source.answered(A, Answer::Connected);
    // B has not answered: the host hears of the end of the wait, and not of the end of the migration.
    let expected = vec![Action::Cancel(A), Action::ConnectComplete];
    assert_eq!(source.end(false, &[A, B], now()), (expected, Ok(())));
    assert_eq!(source.answered(B, Answer::Connected), [Action::Cancel(B)]);
    assert_eq!(source.end(false, &[], now()), (vec![Action::EndComplete], Ok(())), "nobody is there");
}

#[test]
fn without_a_target_clients_are_dropped_when_the_machine_has_moved() {
    let mut source = Source::default();
    let (actions, known) = source.end(true, &[A], now());
    assert!(matches!(actions[..], [Action::Drop(A, _), Action::EndComplete]) && known.is_err());
    assert_eq!(source.end(true, &[], now()), (vec![Action::EndComplete], Ok(())));
}

#[test]
fn another_target_calls_the_first_migration_off() {
    let mut source = connected(&[(A, Ability::Semi), (B, Ability::Semi)]);
    source.answered(A, Answer::Connected);
    let other = MigrationTarget { port: 2, ..target() };
    let actions = source.connect(other.clone(), [(A, Ability::Semi)], now());
    assert_eq!(actions, [Action::Cancel(A), Action::ConnectComplete, Action::Begin(A, Ability::Semi)]);
    assert_eq!(source.target(), Some(&other));
    assert_eq!(source.answered(A, Answer::Connected), [Action::ConnectComplete]);
}

#[test]
fn a_client_on_its_way_here_is_asked_when_it_has_arrived() {
    let mut source = Source::default();
    assert_eq!(source.connect(target(), [(A, Ability::Arriving)], now()), []);
    assert_eq!(source.arrived(A, Ability::Seamless), [Action::Begin(A, Ability::Seamless)]);
    assert_eq!(source.arrived(A, Ability::Seamless), [], "once");
    assert_eq!(source.answered(A, Answer::ConnectedSeamless), [Action::ConnectComplete]);
    let mut source = Source::default();
    source.connect(target(), [(A, Ability::Arriving)], now());
    assert_eq!(source.arrived(A, Ability::SwitchHost), [Action::ConnectComplete]);
}

#[test]
fn the_host_hears_before_its_server_ends() {
    let mut source = connected(&[(A, Ability::Semi)]);
    assert_eq!(source.call_off(), [Action::ConnectComplete]);
    let mut source = connected(&[(A, Ability::Semi)]);
    source.answered(A, Answer::Connected);
    let _ = source.end(true, &[A], now());
    assert_eq!(source.call_off(), [Action::EndComplete]);
    assert_eq!(source.call_off(), []);
}

/// Whatever comes in whatever order: the host hears once for each thing that it waits for.
mod any_order {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(256))]
        #[test]
        fn every_wait_ends_once(script in proptest::collection::vec((0u8..9, 1u64..4, 0u8..4), 0..60)) {
            let (mut source, mut time) = (Source::default(), now());
            let (mut connects, mut ends) = (0i32, 0i32);
            let present = [A, B, ClientId(3)];
            let count = |actions: Vec<Action>, connects: &mut i32, ends: &mut i32| {
                *connects -= i32::try_from(actions.iter().filter(|a| **a == Action::ConnectComplete).count()).unwrap();
                *ends -= i32::try_from(actions.iter().filter(|a| **a == Action::EndComplete).count()).unwrap();
            };
            for (what, client, how) in script {
                let client = ClientId(client);
                let ability = [Ability::SwitchHost, Ability::Semi, Ability::Seamless, Ability::Arriving][usize::from(how)];
                let answer = [Answer::Failed, Answer::Connected, Answer::ConnectedSeamless, Answer::Connected][usize::from(how)];
                let actions = match what {
                    0 => {
                        connects += 1;
                        source.connect(target(), present.map(|c| (c, ability)), time)
                    }
                    1..=3 => source.answered(client, answer),
                    4 => source.gone(client),
                    5 => source.arrived(client, ability),
                    6 => {
                        time += MIGRATION_CONNECT_TIMEOUT;
                        source.on_timer(time)
                    }
                    7 => source.end(false, &present, time).0,
                    _ => {
                        ends += 1;
                        source.end(true, &present, time).0
                    }
                };
                count(actions, &mut connects, &mut ends);
                prop_assert!((0..=1).contains(&connects) && (0..=1).contains(&ends), "{} {}", connects, ends);
            }
            count(source.call_off(), &mut connects, &mut ends);
            prop_assert_eq!((connects, ends), (0, 0));
        }
    }
}
