//! Channels come and go on several threads, and so do the clients at their ends: both ends agree, and they are counted.

use std::sync::Arc;

use shuttle::thread::spawn;
use websocket_relay::hub::{AppendError, Totals};
use websocket_relay::{ClientId, CloseReason, Limits};

use super::connection::{Connection, Kind};
use super::{ADA, BOB, GRACE, World, any, explore, one_in_two};

fn channels(world: &World) -> usize {
    world.hub.totals().channels
}

/// Revokes all channels, each from one end, and sees that none is left at the other, nor counted.
fn none_is_half_open(world: &Arc<World>) {
    let clients = world.clients;
    for (place, one) in clients.iter().enumerate() {
        for two in &clients[place..] {
            let (before, revoked) = (channels(world), world.hub.close_channel(*one, *two).is_ok());
            assert_eq!(channels(world), before - usize::from(revoked));
        }
    }
    assert_eq!(channels(world), 0, "what is counted is there");
}

#[test]
fn two_first_messages_at_the_same_instant_open_one_channel() {
    explore(|| {
        // Room for one message in all: of what comes second nothing is kept.
        let max_total_bytes = if one_in_two() { 400 } else { Limits::default().max_total_bytes };
        let world = World::with(Limits { max_total_bytes, ..Limits::default() }, true);
        let (ada, grace) = (world.clients[ADA], world.clients[GRACE]);
        let senders = [(ADA, grace, "ada"), (GRACE, ada, "grace")].map(|(who, target, name)| {
            let mut sender = world.open(who, name, any(1));
            spawn(move || {
                let sent = sender.try_send(target, "hello");
                sent.is_ok()
            })
        });
        let gone = one_in_two().then(|| {
            let world = Arc::clone(&world);
            spawn(move || world.hub.unregister(grace, CloseReason::Unregistered).unwrap())
        });
        let taken = senders.map(|sender| sender.join().unwrap());
        match gone {
            Some(gone) => drop(gone.join().unwrap()),
            None => assert_eq!(channels(&world), usize::from(taken != [false, false])),
        }
        none_is_half_open(&world);
        world.end();
    });
}

#[test]
fn both_ends_of_a_channel_agree_whoever_comes_and_goes() {
    explore(|| {
        let world = World::with(Limits::default(), one_in_two());
        let [ada, grace, bob] = world.clients;
        let mut talking = world.open(ADA, "ada", any(1));
        let talker = spawn(move || {
            talking.try_send(bob, "hello").ok();
        });
        let room = Arc::clone(&world);
        let joining = spawn(move || {
            let joined = if one_in_two() {
                room.hub.open_channels_among(&[bob, ada, grace])
            } else {
                room.hub.open_channels_with(bob, &[grace, bob, ada])
            };
            joined.ok()
        });
        let other = Arc::clone(&world);
        let revoking = spawn(move || {
            let revoked = other.hub.close_channel(bob, ada).is_ok();
            let opened = other.hub.open_channel(grace, bob).is_ok();
            (revoked, opened)
        });
        let gone = one_in_two();
        if gone {
            world.hub.unregister(grace, CloseReason::Unregistered).unwrap();
        }
        talker.join().unwrap();
        joining.join().unwrap();
        revoking.join().unwrap();
        assert!(channels(&world) <= if gone { 1 } else { 3 }, "{}", channels(&world));
        none_is_half_open(&world);
        if one_in_two() {
            let mut last = world.open(BOB, "bob", Kind::Plain);
            let refused = last.try_send(grace, "hello");
            assert!(!gone || refused == Err(AppendError::ChannelNotRegistered), "{refused:?}");
        }
        world.end();
    });
}

/// Has everybody told what there is to be told, and heard. What had no room has it when that was heard which took it.
fn settle(connection: &mut Connection) {
    for _ in 0..4 {
        while connection.world.hub.tell_presence().has_more {}
        connection.deliver();
    }
}

#[test]
fn what_a_client_hears_last_of_who_is_there_is_true() {
    explore(|| {
        let world = World::with(Limits::default(), false);
        let [ada, grace, bob] = world.clients;
        let mut reader = world.open(GRACE, "reader", Kind::Page(1));
        let coming = Arc::clone(&world);
        let coming = spawn(move || {
            let mut there = coming.open(ADA, "ada", any(2));
            if one_in_two() {
                there.deliver();
            }
            there.close();
            let stays = one_in_two();
            if stays {
                coming.open(ADA, "ada again", any(3));
            }
            stays
        });
        let changing = Arc::clone(&world);
        let changing = spawn(move || {
            changing.open(BOB, "bob", any(4));
            match one_in_two() {
                true => changing.hub.unregister(bob, CloseReason::Unregistered).map(drop).unwrap(),
                false => changing.hub.close_channel(bob, grace).unwrap(),
            }
        });
        let telling = Arc::clone(&world);
        let telling = spawn(move || {
            for _ in 0..3 {
                telling.hub.tell_presence();
            }
        });
        reader.deliver();
        let again = one_in_two();
        if again {
            // The page's connection is made anew.
            reader.close();
            reader = world.open(GRACE, "reader again", Kind::Page(1));
            reader.deliver();
        }
        let stays = coming.join().unwrap();
        changing.join().unwrap();
        telling.join().unwrap();
        settle(&mut reader);
        let told = |client: ClientId| reader.online.get(&client.get()).copied();
        assert_eq!(told(ada), Some(stays));
        // What is no peer any more was never told of to a later connection.
        assert_ne!(told(bob), Some(true));
        let Totals { channels, .. } = world.hub.totals();
        assert_eq!(channels, 1);
        drop(reader);
        world.end();
    });
}
