//! Channels are opened and closed on several threads while clients come and go. Both ends always agree, and the count of
//! channels is right.

use std::sync::Arc;

use shuttle::thread::spawn;
use websocket_relay::hub::{AppendError, Totals};
use websocket_relay::{ClientId, CloseReason, Limits};

use super::connection::{Connection, Kind};
use super::{ADA, BOB, GRACE, World, any, explore, one_in_two};

fn channels(world: &World) -> usize {
    world.hub.totals().channels
}

/// Closes all channels, each from one end, and checks that the other end has none and that none is counted.
fn check_no_channel_is_half_open(world: &Arc<World>) {
    let clients = world.clients;
    for (index, one) in clients.iter().enumerate() {
        for two in &clients[index..] {
            let (before, was_open) = (channels(world), world.hub.close_channel(*one, *two).is_ok());
            assert_eq!(channels(world), before - usize::from(was_open));
        }
    }
    assert_eq!(channels(world), 0, "counted channels that no client has");
}

#[test]
fn concurrent_first_messages_open_one_channel() {
    explore(|| {
        // Half the time there is room for only one message.
        let max_total_bytes = if one_in_two() { 400 } else { Limits::default().max_total_bytes };
        let world = World::with(Limits { max_total_bytes, ..Limits::default() }, true);
        let (ada, grace) = (world.clients[ADA], world.clients[GRACE]);
        let senders = [(ADA, grace, "ada"), (GRACE, ada, "grace")].map(|(client, target, name)| {
            let mut sender = world.open(client, name, any(1));
            spawn(move || sender.try_send(target, "hello").is_ok())
        });
        let unregistering = one_in_two().then(|| {
            let world = Arc::clone(&world);
            spawn(move || world.hub.unregister(grace, CloseReason::Unregistered).unwrap())
        });
        let appended = senders.map(|sender| sender.join().unwrap());
        match unregistering {
            Some(unregistering) => drop(unregistering.join().unwrap()),
            None => assert_eq!(channels(&world), usize::from(appended != [false, false])),
        }
        check_no_channel_is_half_open(&world);
        world.end();
    });
}

#[test]
fn both_ends_of_a_channel_agree_while_clients_come_and_go() {
    explore(|| {
        let world = World::with(Limits::default(), one_in_two());
        let [ada, grace, bob] = world.clients;
        let mut sender = world.open(ADA, "ada", any(1));
        let sending = spawn(move || {
            sender.try_send(bob, "hello").ok();
        });
        let opener = Arc::clone(&world);
        let opening = spawn(move || {
            let opened = if one_in_two() {
                opener.hub.open_channels_among(&[bob, ada, grace])
            } else {
                opener.hub.open_channels_with(bob, &[grace, bob, ada])
            };
            opened.ok()
        });
        let closer = Arc::clone(&world);
        let closing = spawn(move || {
            closer.hub.close_channel(bob, ada).ok();
            closer.hub.open_channel(grace, bob).ok();
        });
        let is_unregistered = one_in_two();
        if is_unregistered {
            world.hub.unregister(grace, CloseReason::Unregistered).unwrap();
        }
        sending.join().unwrap();
        opening.join().unwrap();
        closing.join().unwrap();
        assert!(channels(&world) <= if is_unregistered { 1 } else { 3 }, "{}", channels(&world));
        check_no_channel_is_half_open(&world);
        if one_in_two() {
            let mut last = world.open(BOB, "bob", Kind::Plain);
            let refused = last.try_send(grace, "hello");
            assert!(!is_unregistered || refused == Err(AppendError::ChannelNotRegistered), "{refused:?}");
        }
        world.end();
    });
}

/// Delivers all presence changes to the connection. A change that had no room is written after the next delivery.
fn settle(connection: &mut Connection) {
    for _ in 0..4 {
        while connection.world.hub.tell_presence().has_more {}
        connection.deliver();
    }
}

#[test]
fn the_last_presence_that_a_client_reads_is_right() {
    explore(|| {
        let world = World::with(Limits::default(), false);
        let [ada, grace, bob] = world.clients;
        let mut reader = world.open(GRACE, "reader", Kind::Reliable(1));
        let reconnecter = Arc::clone(&world);
        let reconnecting = spawn(move || {
            let mut first = reconnecter.open(ADA, "ada", any(2));
            if one_in_two() {
                first.deliver();
            }
            first.close();
            let is_online = one_in_two();
            if is_online {
                reconnecter.open(ADA, "ada again", any(3));
            }
            is_online
        });
        let remover = Arc::clone(&world);
        let removing = spawn(move || {
            remover.open(BOB, "bob", any(4));
            match one_in_two() {
                true => remover.hub.unregister(bob, CloseReason::Unregistered).map(drop).unwrap(),
                false => remover.hub.close_channel(bob, grace).unwrap(),
            }
        });
        let background = Arc::clone(&world);
        let telling = spawn(move || {
            for _ in 0..3 {
                background.hub.tell_presence();
            }
        });
        reader.deliver();
        if one_in_two() {
            // The page reconnects.
            reader.close();
            reader = world.open(GRACE, "reader again", Kind::Reliable(1));
            reader.deliver();
        }
        let is_online = reconnecting.join().unwrap();
        removing.join().unwrap();
        telling.join().unwrap();
        settle(&mut reader);
        let told = |client: ClientId| reader.online.get(&client.get()).copied();
        assert_eq!(told(ada), Some(is_online));
        // A later connection is not told of a client that is no longer a peer.
        assert_ne!(told(bob), Some(true));
        let Totals { channels, .. } = world.hub.totals();
        assert_eq!(channels, 1);
        drop(reader);
        world.end();
    });
}
