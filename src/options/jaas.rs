//! Parses JAAS logins (`sasl.jaas.config`).

use std::iter::Peekable;
use std::str::Chars;

const MODULES: [&str; 4] = [
    "PlainLoginModule",
    "ScramLoginModule",
    "OAuthBearerLoginModule",
    "Krb5LoginModule",
];

/// The properties that a JAAS login stands for. The error never repeats any part of the login.
pub(super) fn login(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    let malformed = || {
        "expected a JAAS login such as `org.apache.kafka.common.security.plain.PlainLoginModule \
         required username=\"..\" password=\"..\";`"
            .to_owned()
    };
    let entry = tokens(text).ok_or_else(malformed)?;
    let (module, options) = match entry.as_slice() {
        // The second word is a flag that has no meaning for a client.
        [Token::Text(module), Token::Text(_), options @ ..] => (module, options),
        _ => return Err(malformed()),
    };
    let module = simple_name(module);
    if !MODULES.contains(&module) {
        return Err(format!(
            "the login module must be one of {}",
            MODULES.join(", ")
        ));
    }
    let mut properties = Vec::new();
    let mut extensions = Vec::new();
    for option in options.chunks(3) {
        let [Token::Text(name), Token::Equals, Token::Text(value)] = option else {
            return Err(malformed());
        };
        let property = match (module, name.as_str()) {
            ("PlainLoginModule" | "ScramLoginModule", "username") => "sasl.username",
            ("PlainLoginModule" | "ScramLoginModule", "password") => "sasl.password",
            ("OAuthBearerLoginModule", "clientId") => "sasl.oauthbearer.client.id",
            ("OAuthBearerLoginModule", "clientSecret") => "sasl.oauthbearer.client.secret",
            ("OAuthBearerLoginModule", "scope") => "sasl.oauthbearer.scope",
            ("Krb5LoginModule", "keyTab") => "sasl.kerberos.keytab",
            ("Krb5LoginModule", "principal") => "sasl.kerberos.principal",
            ("Krb5LoginModule", "serviceName") => "sasl.kerberos.service.name",
            (_, name) => {
                if let Some(name) = name.strip_prefix("extension_") {
                    extensions.push(format!("{name}={value}"));
                }
                continue;
            }
        };
        properties.push((property, value.clone()));
    }
    if !extensions.is_empty() {
        properties.push(("sasl.oauthbearer.extensions", extensions.join(",")));
    }
    Ok(properties)
}

fn simple_name(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

enum Token {
    Text(String),
    Equals,
}

/// The tokens up to the first `;`, which is required.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        match *chars.peek()? {
            c if c.is_whitespace() => {
                chars.next();
            }
            ';' => return Some(tokens),
            '=' => {
                chars.next();
                tokens.push(Token::Equals);
            }
            quote @ ('"' | '\'') => {
                chars.next();
                tokens.push(Token::Text(quoted(&mut chars, quote)?));
            }
            _ => {
                let mut word = String::new();
                while let Some(c) =
                    chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '=' | '"' | '\''))
                {
                    word.push(c);
                }
                tokens.push(Token::Text(word));
            }
        }
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            c if c == quote => return Some(text),
            '\\' => text.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c => c,
            }),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_scram_give_user_and_password() {
        for module in [
            "org.apache.kafka.common.security.plain.PlainLoginModule",
            "org.apache.kafka.common.security.scram.ScramLoginModule",
        ] {
            let text = format!(
                r#"{module} required username="al ice" password='a"b;=\'\\' tokenauth=true;"#
            );
            assert_eq!(
                login(&text).unwrap(),
                [
                    ("sasl.username", "al ice".to_owned()),
                    ("sasl.password", r#"a"b;='\"#.to_owned()),
                ]
            );
        }
    }

    #[test]
    fn oauth_gives_client_scope_and_extensions() {
        let text = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                    clientId=me clientSecret='s' scope=\"a b\" extension_logicalCluster='lkc-1' \
                    extension_identityPoolId=pool ;";
        assert_eq!(
            login(text).unwrap(),
            [
                ("sasl.oauthbearer.client.id", "me".to_owned()),
                ("sasl.oauthbearer.client.secret", "s".to_owned()),
                ("sasl.oauthbearer.scope", "a b".to_owned()),
                (
                    "sasl.oauthbearer.extensions",
                    "logicalCluster=lkc-1,identityPoolId=pool".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn kerberos_gives_keytab_and_principal() {
        let text = "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true \
                    keyTab=\"/etc/k.keytab\" principal=\"me@REALM\";";
        assert_eq!(
            login(text).unwrap(),
            [
                ("sasl.kerberos.keytab", "/etc/k.keytab".to_owned()),
                ("sasl.kerberos.principal", "me@REALM".to_owned()),
            ]
        );
    }

    #[test]
    fn malformed_logins_are_refused_without_being_shown() {
        for text in [
            "",
            "hunter2",
            "hunter2;",
            "PlainLoginModule hunter2",
            "PlainLoginModule required password=\"hunter2",
            "PlainLoginModule required password=\"hunter2\"",
            "PlainLoginModule required password hunter2;",
            "PlainLoginModule required password=;",
            "hunter2 required password=\"x\";",
            "hunter2 required;",
            "= = hunter2;",
        ] {
            let reason = login(text).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
