//! Programs that have their own options or operands for secrets.

use std::ops::Range;

/// The secret part of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// All of it, in the same argument or the next.
    All,
    /// All of it, only in the same argument. Without a value, the option asks for the secret.
    Attached,
    /// All of it, but only if the command also has the given word, for example `login`.
    AllWith(&'static str),
    /// The text after the first occurrence of the given character.
    Behind(char),
    /// The values of cookies. Without `=` it is the name of a file.
    Cookie,
    /// The text after the colon of a header.
    Header,
    /// `pass:PASSWORD`: openssl(1), "Pass Phrase Options".
    Source,
    /// Nothing, even if the name of the option looks like a secret's.
    Nothing,
}

/// Finds the secrets in the operands of a command. It gets the words from the program on. It returns words and their
/// secret parts.
type Operands = fn(&[&str]) -> Vec<(usize, Range<usize>)>;

/// A program, or several similar ones.
pub(super) struct Program {
    pub(super) names: &'static [&'static str],
    options: &'static [(&'static str, Value)],
    /// Its short options may be joined in a cluster, as in `-su`. The string has the letters of the other options that
    /// take a value. A cluster ends with such an option, because its value follows.
    clusters: Option<&'static str>,
    /// No option has an attached value: `-key` is not `-k` with `ey`.
    is_apart: bool,
    pub(super) operands: Option<Operands>,
    /// A shell: a script follows `-c`.
    pub(super) is_shell: bool,
    /// An operand with spaces is a script.
    pub(super) runs_operands: bool,
}

const fn program(names: &'static [&'static str], options: &'static [(&'static str, Value)]) -> Program {
    Program { names, options, clusters: None, is_apart: false, operands: None, is_shell: false, runs_operands: false }
}

use Value::{All, AllWith, Attached, Behind, Cookie, Header, Nothing, Source};

const PROGRAMS: &[Program] = &[
    Program {
        is_shell: true,
        ..program(&["sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "yash", "rbash", "fish"], &[])
    },
    Program {
        runs_operands: true,
        ..program(&["ssh", "watch", "eval", "su", "runuser", "flock", "script", "parallel", "xargs"], &[])
    },
    Program {
        clusters: Some("DehPSuO"),
        ..program(
            &[
                "mysql",
                "mysqldump",
                "mysqladmin",
                "mysqlimport",
                "mysqlshow",
                "mysqlcheck",
                "mysqlslap",
                "mysqlbinlog",
                "mysqlpump",
                "mysqlsh",
                "mysql_upgrade",
                "mariadb",
                "mariadb-dump",
                "mariadb-admin",
                "mariadb-import",
                "mariadb-show",
                "mariadb-check",
                "mariadb-backup",
                "mariabackup",
                "xtrabackup",
                "mycli",
            ],
            &[("-p", Attached), ("--password", Attached)],
        )
    },
    program(&["mydumper", "myloader"], &[("-p", All)]),
    Program {
        ..program(
            &[
                "psql",
                "pg_dump",
                "pg_dumpall",
                "pg_restore",
                "pg_basebackup",
                "createdb",
                "createuser",
                "dropdb",
                "dropuser",
                "vacuumdb",
                "reindexdb",
                "clusterdb",
            ],
            &[("--password", Nothing)],
        )
    },
    program(
        &[
            "mongosh",
            "mongo",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
            "mongostat",
            "mongotop",
            "mongofiles",
        ],
        &[("-p", All)],
    ),
    program(&["sqlcmd", "bcp", "isql", "osql", "tsql", "sqsh", "freebcp"], &[("-P", All)]),
    Program { operands: Some(oracle), ..program(&["sqlplus", "sqlldr", "expdp", "impdp", "rman"], &[]) },
    Program { operands: Some(redis), ..program(&["redis-cli", "valkey-cli", "keydb-cli"], &[("-a", All)]) },
    program(&["sshpass"], &[("-p", All)]),
    program(
        &["docker", "podman", "nerdctl", "buildah", "helm", "oras", "crane", "skopeo"],
        &[("-p", AllWith("login")), ("--secret", Nothing)],
    ),
    program(&["az"], &[("-p", AllWith("login")), ("--value", AllWith("secret"))]),
    program(&["twine"], &[("-p", All)]),
    program(&["etcdctl"], &[("--user", Behind(':'))]),
    program(&["ssh-keygen"], &[("-N", All), ("-P", All)]),
    program(&["dotnet", "nuget"], &[("-k", AllWith("push"))]),
    Program { operands: Some(kubernetes), ..program(&["kubectl", "oc"], &[("-p", AllWith("login"))]) },
    Program {
        clusters: Some("AbcCdDeEFHKmoPQrtTuUwxXyYz"),
        ..program(
            &["curl"],
            &[
                ("-u", Behind(':')),
                ("--user", Behind(':')),
                ("-U", Behind(':')),
                ("--proxy-user", Behind(':')),
                ("-E", Behind(':')),
                ("--cert", Behind(':')),
                ("-b", Cookie),
                ("--cookie", Cookie),
                ("-H", Header),
                ("--header", Header),
                ("--proxy-header", Header),
            ],
        )
    },
    program(&["wget", "wget2"], &[("--header", Header)]),
    program(&["http", "https", "xh", "xhs"], &[("-a", All), ("--auth", All)]),
    // `open` is a command of lftp.
    program(&["lftp", "open"], &[("-u", Behind(',')), ("--user", Behind(','))]),
    program(&["ncftpput", "ncftpget", "ncftpls"], &[("-p", All)]),
    Program {
        clusters: Some("abdDefhHIlopPsSTUVXYzE"),
        ..program(
            &[
                "ldapsearch",
                "ldapadd",
                "ldapmodify",
                "ldapdelete",
                "ldapmodrdn",
                "ldapcompare",
                "ldapwhoami",
                "ldapexop",
                "ldappasswd",
            ],
            &[("-w", All)],
        )
    },
    Program { operands: Some(htpasswd), ..program(&["htpasswd"], &[]) },
    Program { operands: Some(samba), ..program(&["smbclient"], &[("-U", Behind('%')), ("--user", Behind('%'))]) },
    program(&["smbget", "rpcclient", "smbcacls", "winexe", "wmic"], &[("-U", Behind('%')), ("--user", Behind('%'))]),
    Program { clusters: Some("bnitxO"), ..program(&["zip", "zipcloak", "zipnote"], &[("-P", All)]) },
    Program { clusters: Some("dx"), ..program(&["unzip"], &[("-P", All)]) },
    program(&["7z", "7za", "7zr", "7zz", "p7zip"], &[("-p", Attached)]),
    program(&["rar", "unrar"], &[("-p", Attached), ("-hp", Attached)]),
    Program {
        is_apart: true,
        operands: Some(openssl),
        ..program(
            &["openssl"],
            &[
                ("-k", All),
                ("-K", All),
                ("-hmac", All),
                ("-pass", Source),
                ("-passin", Source),
                ("-passout", Source),
                ("-kfile", Nothing),
                ("-key", Nothing),
                ("-sign", Nothing),
                ("-signature", Nothing),
            ],
        )
    },
    program(&["ipmitool"], &[("-P", All)]),
    program(&["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"], &[("-P", All)]),
    program(
        &["snmpget", "snmpgetnext", "snmpwalk", "snmpbulkwalk", "snmpset"],
        &[("-c", All), ("-A", All), ("-X", All)],
    ),
    program(&["xfreerdp", "wlfreerdp", "xfreerdp3"], &[("/p:", Attached)]),
    program(&["rdesktop"], &[("-p", All)]),
    program(&["useradd", "usermod"], &[("-p", All)]),
    program(&["gh"], &[("-b", AllWith("secret")), ("--body", AllWith("secret"))]),
    program(&["aws"], &[("--value", AllWith("put-parameter"))]),
    Program { operands: Some(pairs), ..program(&["fly", "flyctl", "heroku"], &[]) },
    Program { operands: Some(vault), ..program(&["vault", "bao"], &[]) },
    Program { operands: Some(minio), ..program(&["mc"], &[]) },
    Program { operands: Some(wifi), ..program(&["wpa_passphrase"], &[]) },
    // `--pass 1` is a pass over the video.
    Program {
        is_apart: true,
        ..program(&["ffmpeg", "x264", "x265", "vpxenc", "aomenc"], &[("-pass", Nothing), ("--pass", Nothing)])
    },
];

/// The names of the programs that may have secrets. A shell has only the secrets of its commands.
pub(super) fn with_secrets() -> impl Iterator<Item = &'static str> {
    let has_own = |program: &&Program| !program.options.is_empty() || program.operands.is_some();
    PROGRAMS.iter().filter(has_own).flat_map(|program| program.names).copied()
}

/// The program with that base name.
pub(super) fn find(name: &str) -> Option<&'static Program> {
    let name = name.strip_suffix(".exe").unwrap_or(name);
    PROGRAMS.iter().find(|program| program.names.contains(&name))
}

impl Program {
    /// The meaning of a word as an option: the secret part of its value, and the start of the value in this word. The start is
    /// `None` if the value is the next word.
    pub(super) fn option(&self, word: &str) -> Option<(Value, Option<usize>)> {
        if self.clusters.is_some() && word.starts_with('-') && !word.starts_with("--") {
            return self.cluster(word);
        }
        self.options.iter().find_map(|(option, value)| {
            let rest = word.strip_prefix(option)?;
            let is_long = option.starts_with("--") || (option.len() > 2 && option.starts_with('-'));
            match rest.chars().next() {
                Some(_) if self.is_apart => None,
                None => Some((*value, None)),
                Some('=') if is_long => Some((*value, Some(option.len() + 1))),
                // `-hpX` of rar is the option `-hp` with its value.
                Some(_) if option.starts_with("--") || (is_long && *value != Attached) => None,
                Some(_) => Some((*value, Some(option.len()))),
            }
        })
    }

    /// The first option of a cluster that is in the table.
    fn cluster(&self, word: &str) -> Option<(Value, Option<usize>)> {
        let valued = self.clusters?;
        for (at, letter) in word.char_indices().skip(1) {
            let is_it = |(option, _): &&(&str, Value)| option.len() == 2 && option.ends_with(letter);
            if let Some((_, value)) = self.options.iter().find(is_it) {
                let rest = at + letter.len_utf8();
                return Some((*value, (rest < word.len()).then_some(rest)));
            }
            if valued.contains(letter) {
                return None;
            }
        }
        None
    }
}

/// The indices of words that are neither options nor the program.
fn operands<'a>(words: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    words.iter().copied().enumerate().skip(1).filter(|(_, word)| !word.starts_with('-'))
}

fn has(words: &[&str], wanted: &str) -> bool {
    words.contains(&wanted)
}

/// `sqlplus USER/PASSWORD@DATABASE`.
fn oracle(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    let login = operands(words).find_map(|(index, word)| {
        let slash = word.find('/').filter(|slash| *slash > 0)?;
        let end = word.rfind('@').filter(|at| *at > slash).unwrap_or(word.len());
        (!word.starts_with('@')).then_some((index, slash + 1..end))
    });
    login.into_iter().collect()
}

/// `htpasswd -b FILE USER PASSWORD`.
fn htpasswd(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    let is_batch = words.iter().any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('b'));
    operands(words)
        .skip(1)
        .last()
        .filter(|_| is_batch)
        .map(|(index, word)| (index, 0..word.len()))
        .into_iter()
        .collect()
}

/// `smbclient //HOST/SHARE PASSWORD`.
fn samba(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    let service = words.iter().position(|word| word.starts_with("//") || word.starts_with("\\\\"));
    let password = service.and_then(|service| Some((service + 1, *words.get(service + 1)?)));
    let password = password.filter(|(_, word)| !word.starts_with('-'));
    password.map(|(index, word)| (index, 0..word.len())).into_iter().collect()
}

/// `kubectl create secret … --from-literal=NAME=VALUE`, with any name.
fn kubernetes(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    const LITERAL: &str = "--from-literal";
    if !(has(words, "create") && has(words, "secret")) {
        return Vec::new();
    }
    let value = |index: usize, start: usize| {
        let word: &str = words.get(index)?;
        let equals = start + word.get(start..)?.find('=')?;
        Some((index, equals + 1..word.len()))
    };
    let literals = words.iter().enumerate().filter_map(|(index, word)| match word.strip_prefix(LITERAL)? {
        "" => value(index + 1, 0),
        rest if rest.starts_with('=') => value(index, LITERAL.len() + 1),
        _ => None,
    });
    literals.collect()
}

/// `heroku config:set NAME=VALUE`, `fly secrets set NAME=VALUE`, with any name.
fn pairs(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    if !(has(words, "config:set") || (has(words, "secrets") && has(words, "set"))) {
        return Vec::new();
    }
    operands(words).filter_map(|(index, word)| Some((index, word.find('=')? + 1..word.len()))).collect()
}

/// `redis-cli AUTH PASSWORD`, or `redis-cli AUTH USER PASSWORD`.
fn redis(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    let auth = operands(words).skip_while(|(_, word)| !word.eq_ignore_ascii_case("auth"));
    auth.skip(1).last().map(|(index, word)| (index, 0..word.len())).into_iter().collect()
}

/// `openssl passwd OPTIONS PASSWORD`.
fn openssl(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    const VALUED: [&str; 3] = ["-salt", "-in", "-rand"];
    let is_password = |(index, _): &(usize, &str)| *index > 1 && !VALUED.contains(&words[index - 1]);
    let passwords = operands(words).filter(|_| words.get(1) == Some(&"passwd")).filter(is_password);
    passwords.map(|(index, word)| (index, 0..word.len())).collect()
}

/// `vault login TOKEN`, `vault unwrap TOKEN`, `vault kv put PATH NAME=VALUE`.
fn vault(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    if has(words, "kv") && (has(words, "put") || has(words, "patch")) {
        let value = |(index, word): (usize, &str)| {
            let start = word.find('=')? + 1;
            let is_elsewhere = word[start..].starts_with('@') || word[start..] == *"-";
            (!is_elsewhere).then_some((index, start..word.len()))
        };
        return operands(words).filter_map(value).collect();
    }
    let token = operands(words).skip_while(|(_, word)| !["login", "unwrap"].contains(word)).nth(1);
    token.filter(|(_, word)| !word.contains('=')).map(|(index, word)| (index, 0..word.len())).into_iter().collect()
}

/// `mc alias set NAME URL KEY SECRET`.
fn minio(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    let secret = operands(words).skip_while(|(_, word)| *word != "set").nth(4).filter(|_| has(words, "alias"));
    secret.map(|(index, word)| (index, 0..word.len())).into_iter().collect()
}

/// `wpa_passphrase SSID PASSPHRASE`.
fn wifi(words: &[&str]) -> Vec<(usize, Range<usize>)> {
    operands(words).nth(1).map(|(index, word)| (index, 0..word.len())).into_iter().collect()
}
