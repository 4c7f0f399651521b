use super::*;

fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn hex(seed: u8) -> String {
    keys::public_hex(&SigningKey::from_bytes(&[seed; 32]).verifying_key())
}

/// A home with a key.
fn home(folder: &tempfile::TempDir) -> Home {
    let home = Home::new(&folder.path().join("a home"));
    std::fs::create_dir(home.folder()).unwrap();
    keys::load_or_create(&home.key_file()).unwrap();
    home
}

#[test]
fn a_roster_reads_back_what_was_signed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(&folder);
    let north = region("north");
    let mut roster = RosterEditor::open(&home).unwrap();
    let mut add =
        |name: &str, key: &str, role| roster.add(member(name), key, role, region("north"));
    add("fog-1", &hex(2), Role::Fog).unwrap();
    add("edge-1", &hex(3), Role::Device).unwrap();
    assert_eq!(add("edge-2", &hex(4), Role::Device).unwrap(), 3);
    // Said twice, it is one line.
    assert_eq!(add("edge-2", &hex(4), Role::Device).unwrap(), 3);
    let refused = |result: anyhow::Result<u64>| format!("{:#}", result.unwrap_err());
    assert!(refused(add("fog-2", &hex(5), Role::Fog)).contains("roster remove fog-1 --home '"));
    assert!(refused(add("root", &hex(5), Role::Fog)).contains("another name"));
    assert!(refused(add("edge-1", &hex(5), Role::Fog)).contains("roster remove edge-1"));
    assert!(refused(add("edge-3", "zz", Role::Device)).contains("init"));
    assert!(refused(add("edge-3", &hex(3), Role::Device)).contains("edge-1 has that key"));
    assert_eq!(roster.remove(&member("edge-2")).unwrap(), 4);
    assert!(refused(roster.remove(&member("edge-2"))).contains("roster list"));
    drop(roster);

    let again = RosterFile::load(&home, &home.key().unwrap()).unwrap();
    assert_eq!(again.number(), 4);
    assert_eq!(again.regions(), BTreeMap::from([(north.clone(), 1)]));
    assert_eq!(again.fog_of(&north).unwrap().0, &member("fog-1"));
    assert!(again.fog_of(&region("south")).is_err());
    let other = SigningKey::from_bytes(&[9; 32]);
    let message = format!("{:#}", RosterFile::load(&home, &other).unwrap_err());
    assert!(
        message.contains("not signed by this root's key") && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn a_fog_gets_the_lines_that_still_say_something() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(&folder);
    let key = home.key().unwrap();
    let mut editor = RosterEditor::open(&home).unwrap();
    let mut add = |name: &str, key: u8, role, of: &str| {
        editor
            .add(member(name), &hex(key), role, region(of))
            .unwrap()
    };
    add("fog-north", 2, Role::Fog, "north");
    for seed in 10..40 {
        // The same device, with a new key every time.
        add("edge-1", seed, Role::Device, "north");
    }
    add("edge-2", 50, Role::Device, "north");
    add("fog-south", 3, Role::Fog, "south");
    let numbers = |roster: &RosterFile, of: &str| -> Vec<u64> {
        let lines = roster.of_region(&region(of)).envelopes;
        let open = |line: &Vec<u8>| super::open(line, &key).unwrap().number;
        lines.iter().map(open).collect()
    };
    assert_eq!(numbers(&editor.roster, "north"), [1, 31, 32]);
    editor.remove(&member("edge-2")).unwrap();
    editor.remove(&member("fog-south")).unwrap();
    // The removal stays, as the last line of its region.
    assert_eq!(numbers(&editor.roster, "north"), [1, 31, 34]);
    assert_eq!(numbers(&editor.roster, "south"), [35]);
    let all = BTreeSet::from([region("north"), region("south")]);
    assert_eq!(editor.roster.regions_ever(), all);
    assert_eq!(editor.roster.regions().len(), 1);

    let members = editor.roster.members().clone();
    editor.roster.compact();
    assert_eq!(editor.roster.envelopes.len(), 4);
    assert_eq!(editor.roster.members(), &members);
    assert_eq!(editor.roster.number(), 35);
    assert_eq!(numbers(&editor.roster, "north"), [1, 31, 34]);
}

#[test]
fn two_commands_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(&folder);
    let add = |first: u8| {
        for seed in first..first + 20 {
            let name = member(&format!("edge-{seed}"));
            let mut roster = RosterEditor::open(&home).unwrap();
            roster
                .add(name, &hex(seed), Role::Device, region("north"))
                .unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| add(1));
        scope.spawn(|| add(100));
    });
    let roster = RosterFile::load(&home, &home.key().unwrap()).unwrap();
    assert_eq!((roster.members().len(), roster.number()), (40, 40));
}
