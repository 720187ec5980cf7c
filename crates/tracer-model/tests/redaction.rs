//! The arguments that are hidden, and those that stay.
//!
//! Each line is a case: `given => expected`, or only `given` if nothing changes. Spaces separate arguments. `«…»` is one argument
//! with spaces. Every secret contains `hunter2`, except tokens: their form shows that they are secrets.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::select};
use tracer_model::{
    event::Strings,
    redact::{Pattern, Redactor, text},
};

/// Options and variables by their names.
const NAMES: &str = r#"
x --password=hunter2 => x --password=***
x --password hunter2 next => x --password *** next
x «--db-password=hunter2 b c» => x --db-password=***
x --password=hunter2,a=b => x --password=***
x -api-key hunter2 => x -api-key ***
x --api_key=hunter2 --API-TOKEN=hunter2 => x --api_key=*** --API-TOKEN=***
x --auth=hunter2 --pwd hunter2 => x --auth=*** --pwd ***
x --license-key hunter2 => x --license-key ***
x --license-key=hunter2 => x --license-key=***
x --secret-id hunter2 => x --secret-id ***
x --secret-id=hunter2 => x --secret-id=***
x --client-secret=hunter2 => x --client-secret=***
x --clientSecret hunter2 => x --clientSecret ***
x --access-token hunter2 => x --access-token ***
x --bearer hunter2 => x --bearer ***
x --passphrase hunter2 => x --passphrase ***
x --private-key hunter2 => x --private-key ***
x --user-password1 hunter2 => x --user-password1 ***
x --token=hunter2 --verbose => x --token=*** --verbose
keytool -storepass hunter2 -keypass hunter2 => keytool -storepass *** -keypass ***
java -Ddb.password=hunter2 -jar a.jar => java -Ddb.password=*** -jar a.jar
java -Djavax.net.ssl.keyStorePassword=hunter2 A => java -Djavax.net.ssl.keyStorePassword=*** A
env AWS_SECRET_ACCESS_KEY=hunter2 PATH=/bin => env AWS_SECRET_ACCESS_KEY=*** PATH=/bin
make GITHUB_TOKEN=hunter2 CC=gcc => make GITHUB_TOKEN=*** CC=gcc
env DB_PASS=hunter2 x => env DB_PASS=*** x
env SMTP_PASS=hunter2 x => env SMTP_PASS=*** x
env MYSQL_PWD=hunter2 mysql => env MYSQL_PWD=*** mysql
env REDISCLI_AUTH=hunter2 redis-cli => env REDISCLI_AUTH=*** redis-cli
env GITHUB_PAT=hunter2 x => env GITHUB_PAT=*** x
env STRIPE_KEY=hunter2 x => env STRIPE_KEY=*** x
env PGPASSWORD=hunter2 psql => env PGPASSWORD=*** psql
env SSHPASS=hunter2 sshpass -e ssh h => env SSHPASS=*** sshpass -e ssh h
env SECRET_KEY_BASE=hunter2 rails => env SECRET_KEY_BASE=*** rails
env NPM_TOKEN_PROD=hunter2 x => env NPM_TOKEN_PROD=*** x
env API_KEY_2=hunter2 x => env API_KEY_2=*** x
env CONNECTION_STRING=hunter2 x => env CONNECTION_STRING=*** x
env ANSIBLE_VAULT_PASSPHRASE=hunter2 x => env ANSIBLE_VAULT_PASSPHRASE=*** x
x AccountKey=hunter2 => x AccountKey=***
x «DefaultEndpointsProtocol=https;AccountName=me;AccountKey=hunter2==;EndpointSuffix=a.net» => x «DefaultEndpointsProtocol=https;AccountName=me;AccountKey=***;EndpointSuffix=a.net»
x «Server=db;User Id=sa;Password=hunter2;Encrypt=true» => x «Server=db;User Id=sa;Password=***;Encrypt=true»
x apiKey=hunter2 => x apiKey=***
x APIKey=hunter2 => x APIKey=***
env AWS_SECRET_ACCESS_KEY=/hunter2 x => env AWS_SECRET_ACCESS_KEY=*** x
env AWS_SECRET_ACCESS_KEY=/hunter2/a/b x => env AWS_SECRET_ACCESS_KEY=*** x
x --secret-access-key /hunter2 => x --secret-access-key ***
x --api-key /hunter2 --api-key=@hunter2 => x --api-key *** --api-key=***
env DB_KEY=/hunter2 x => env DB_KEY=*** x
env SIGNING_KEY=hunter2.key x => env SIGNING_KEY=*** x
x --pat @hunter2 => x --pat ***
x -Dsonar.login=hunter2 => x -Dsonar.login=***
"#;

const HARMLESS_NAMES: &str = r#"
x --max-tokens 100
x --max-tokens=100
x --tokenizer bert
x --tokenizer=bert
env MAX_TOKENS=100 x
x --authorization-mode RBAC
x --authorization-mode=RBAC
x --signature-algorithm rsa
x --signature-algorithm=rsa
git log --show-signature HEAD~3
ffmpeg -i a.mp4 -pass 1 -b 1M b.mp4
sh -c «ffmpeg -pass 1 a»
x --password-file=/run/secrets/a --token-path /a --secret-name=b --key-id 4
x --password-stdin next
x --no-password next
x --ask-pass next
x --author=me --authors you passwords.txt secret
x --password --verbose
x --password -v
x --password -
x --password=
x --key name --sort-key=2 --public-key a
x --ssl-key=/etc/ssl/a --tls-key server.pem
x --cache-key=linux --primary-key id
x --stop-token end
x --auth=none --auth basic
x --private-key /home/me/.ssh/id_rsa
env PWD=/src OLDPWD=/ x
env GOOGLE_APPLICATION_CREDENTIALS=/etc/a.json x
x --token-ttl=5m --secret-length 12
x --passes=3 --bypass a --compass b
x --signature a.sig
x --keys=3 --monkey b --turkey=c
env DB_KEY=/etc/a/b SSL_KEY=./a TLS_KEY=~/a DEPLOY_KEY=@/etc/a x
x --ssh-key /root/.ssh/id_rsa --key server.key
x --credentials default --auth oauth
grep password file
grep -r token src
python3 -m tokenize a.py
cc -O2 -DNAME=value -c -o a.o a.c -I/usr/include -std=gnu11 -pthread
cc -DKEY=1 -DPASS=2 -fpass-plan -lcrypto
x 12:34:56 a=b -- -
mkdir -p a
cp -pr a b
"#;

/// Pairs within pairs, JSON, headers, URLs and tokens.
const TEXTS: &str = r#"
docker run --env=DB_PASSWORD=hunter2 img => docker run --env=DB_PASSWORD=*** img
docker run --env DB_PASSWORD=hunter2 img => docker run --env DB_PASSWORD=*** img
docker run -e DB_PASSWORD=hunter2 -p 80:80 img => docker run -e DB_PASSWORD=*** -p 80:80 img
docker run -eDB_PASSWORD=hunter2 img => docker run -eDB_PASSWORD=*** img
docker build --build-arg=NPM_TOKEN=hunter2 . => docker build --build-arg=NPM_TOKEN=*** .
docker build --build-arg NPM_TOKEN=hunter2 . => docker build --build-arg NPM_TOKEN=*** .
kubectl create x --from-literal=password=hunter2 => kubectl create x --from-literal=password=***
kubectl create x --from-literal password=hunter2 => kubectl create x --from-literal password=***
kubectl create secret generic a --from-literal=b=hunter2 => kubectl create secret generic a --from-literal=b=***
kubectl create secret generic a --from-literal b=hunter2 => kubectl create secret generic a --from-literal b=***
helm install a b --set a=b,db.password=hunter2 => helm install a b --set a=b,db.password=***
helm install a b --set=a=b,db.password=hunter2,c=d => helm install a b --set=a=b,db.password=***,c=d
helm install a b --set db.password=hunter2,c=d => helm install a b --set db.password=***,c=d
helm install a b --set «users[0].password=hunter2» => helm install a b --set «users[0].password=***»
mount -o user=x,password=hunter2 //h/s /mnt => mount -o user=x,password=*** //h/s /mnt
mount -o password=hunter2,user=x //h/s /mnt => mount -o password=***,user=x //h/s /mnt
ansible-playbook -e «user=x password=hunter2 c=d» a.yml => ansible-playbook -e «user=x password=*** c=d» a.yml
aws cloudformation deploy --p ParameterKey=DbPassword,ParameterValue=hunter2 => aws cloudformation deploy --p ParameterKey=DbPassword,ParameterValue=***
x {"user":"me","password":"hunter2","a":1} => x {"user":"me","password":"***","a":1}
x «{ "password" : "hunter2\"x" , "b": 2 }» => x «{ "password" : "***" , "b": 2 }»
x «{'token': 'hunter2'}» => x «{'token': '***'}»
x {"auth":{"clientSecret":"hunter2"}} => x {"auth":{"clientSecret":"***"}}
x {"body":"{\"password\":\"hunter2\",\"a\":1}"} => x {"body":"{\"password\":\"***\",\"a\":1}"}
x [{"name":"DB_PASSWORD","value":"hunter2"},{"name":"A","value":"b"}] => x [{"name":"DB_PASSWORD","value":"***"},{"name":"A","value":"b"}]
curl -d {"password":"hunter2"} http://h => curl -d {"password":"***"} http://h
curl -d user=me&password=hunter2&a=b http://h => curl -d user=me&password=***&a=b http://h
curl -F password=hunter2 http://h => curl -F password=*** http://h
curl -H «Authorization: Bearer hunter2» => curl -H «Authorization: Bearer ***»
curl «-HAuthorization: Basic hunter2=» => curl «-HAuthorization: Basic ***»
curl -H «X-Api-Key: hunter2» -H «Accept: a/b» => curl -H «X-Api-Key: ***» -H «Accept: a/b»
curl -H «X-Auth-Key: hunter2» => curl -H «X-Auth-Key: ***»
curl -H X-Auth-Key:hunter2 => curl -H X-Auth-Key:***
curl -HX-Auth-Key:hunter2 => curl -HX-Auth-Key:***
curl -H «PRIVATE-TOKEN: hunter2» => curl -H «PRIVATE-TOKEN: ***»
curl -H PRIVATE-TOKEN:hunter2 => curl -H PRIVATE-TOKEN:***
curl -H «Cookie: session=hunter2; b=hunter2» => curl -H «Cookie: ***»
wget «--header=Authorization: token hunter2» => wget «--header=Authorization: token ***»
git -c «http.extraheader=AUTHORIZATION: basic hunter2» fetch => git -c «http.extraheader=AUTHORIZATION: basic ***» fetch
x «password: hunter2» => x «password: ***»
git clone https://me:hunter2@host/a.git => git clone https://me:***@host/a.git
git clone https://me:hunter2/hunter2@host/a.git => git clone https://me:***@host/a.git
git clone https://me:hunter2@hunter2/hunter2@host.org/a.git => git clone https://me:***@host.org/a.git
git clone https://me:hunter2@hunter2@host/a.git => git clone https://me:***@host/a.git
psql postgres://u:hunter2%40w@h:5432/db => psql postgres://u:***@h:5432/db
psql postgres://u:hunter2#a?b@h:5432/db => psql postgres://u:***@h:5432/db
x redis://:hunter2@h:6379/0 => x redis://:***@h:6379/0
git clone https://0a1b2c3d4e5f60718293a4b5c6d7e8f901234567@host/a => git clone https://***@host/a
git clone https://0a1b2c3d4e5f60718293a4b5c6d7e8f901234567:x-oauth-basic@host/a => git clone https://***:x-oauth-basic@host/a
git clone https://ghp_0123456789abcdefghijABCDEFGHIJ012345@host/a => git clone https://***@host/a
git clone https://x-access-token:hunter2@github.com/a => git clone https://x-access-token:***@github.com/a
curl http://h/?a=1&access_token=hunter2&b=2#c => curl http://h/?a=1&access_token=***&b=2#c
curl https://h/a?sv=1&sig=hunter2%3D => curl https://h/a?sv=1&sig=***
x https://a/?X-Amz-Signature=hunter2&X-Amz-Date=1 => x https://a/?X-Amz-Signature=***&X-Amz-Date=1
x ghp_0123456789abcdefghijABCDEFGHIJ012345 => x ***
x glpat-0123456789abcdefghij => x ***
x AKIAIOSFODNN7EXAMPLE => x ***
x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.abcdef => x ***
x «the token xoxb-1234567890-abc is bad» => x «the token *** is bad»
x «-----BEGIN RSA PRIVATE KEY-----\nhunter2» => x «-----BEGIN RSA PRIVATE KEY-----***»
psql -c «ALTER USER x WITH PASSWORD 'hunter2'» => psql -c «ALTER USER x WITH PASSWORD '***'»
psql -c «CREATE ROLE x LOGIN PASSWORD 'hunter2 a' b» => psql -c «CREATE ROLE x LOGIN PASSWORD '***' b»
mysql -e «CREATE USER 'x'@'h' IDENTIFIED BY 'hunter2'» => mysql -e «CREATE USER 'x'@'h' IDENTIFIED BY '***'»
sh -c «psql -c "ALTER USER x PASSWORD 'hunter2'"» => sh -c «psql -c "ALTER USER x PASSWORD '***'"»
x «PASSWORD = hunter2» => x «PASSWORD = ***»
x «a = b\npassword = hunter2\nc = d» => x «a = b\npassword = ***\nc = d»
x «password = 'hunter2'» => x «password = '***'»
x --password:hunter2 -password:hunter2 /password:hunter2 => x --password:*** -password:*** /password:***
x --apikey:hunter2 => x --apikey:***
x «- a: b\n  password: hunter2 # c\n» => x «- a: b\n  password: *** # c\n»
x «{a: b, password: hunter2}» => x «{a: b, password: ***}»
python3 -c «connect(user='me', password='hunter2', port=1)» => python3 -c «connect(user='me', password='***', port=1)»
"#;

const HARMLESS_TEXTS: &str = r#"
git clone ssh://git@host:22/a https://host:8080/a@b
git clone git@github.com:a/b.git https://me@host/a
go install host.org/tool@v1.2.3 https://h/a/b@v2
npm install --registry=https://registry.npmjs.org npm_config_registry
docker run -v secret:/run -p 80:80 img
x {"tokens":100,"password_file":"/a","a":[1]}
curl -H «Accept: a/b» -H Content-Type:a/b http://h
curl http://h/?page_token_size=1&sort=key
x sk-learn-something-or-other-with-a-name
x «12:30: the token ring»
x a==b c!=d e=>f
x --filter «name=a,value=b»
git commit -m «fix: say what a token is»
git commit -m «fix: password: reset flow»
git commit -m «Token: refresh is broken»
docker run -v /token:/run -vsecret:/run img
"#;

/// Options and operands of a single program.
const PROGRAMS: &str = r#"
mysql -uroot -phunter2 db => mysql -uroot -p*** db
mysql -Bphunter2 db => mysql -Bp*** db
mysql --password=hunter2 db => mysql --password=*** db
mysqlimport -phunter2 db a => mysqlimport -p*** db a
/usr/bin/mysqldump -phunter2 db => /usr/bin/mysqldump -p*** db
mongosh -u me -p hunter2 => mongosh -u me -p ***
mongosh -phunter2 => mongosh -p***
sqlcmd -S h -P hunter2 -Q a => sqlcmd -S h -P *** -Q a
ldapadd -x -D cn=a -w hunter2 -f a => ldapadd -x -D cn=a -w *** -f a
ldapsearch -xw hunter2 => ldapsearch -xw ***
htpasswd -b file me hunter2 => htpasswd -b file me ***
htpasswd -nbB me hunter2 => htpasswd -nbB me ***
7z a -phunter2 a.7z b => 7z a -p*** a.7z b
unrar x -hphunter2 a => unrar x -hp*** a
zip -rP hunter2 a.zip b => zip -rP *** a.zip b
unzip -P hunter2 a.zip => unzip -P *** a.zip
openssl enc -aes-256-cbc -k hunter2 -in a => openssl enc -aes-256-cbc -k *** -in a
openssl rsa -passin pass:hunter2 => openssl rsa -passin pass:***
aws configure set aws_secret_access_key hunter2 => aws configure set aws_secret_access_key ***
aws configure set profile.a.aws_secret_access_key hunter2 => aws configure set profile.a.aws_secret_access_key ***
npm config set //registry.npmjs.org/:_authToken hunter2 => npm config set //registry.npmjs.org/:_authToken ***
npm config set //registry.npmjs.org/:_authToken=hunter2 => npm config set //registry.npmjs.org/:_authToken=***
nmcli dev wifi connect home password hunter2 => nmcli dev wifi connect home password ***
sshpass -p hunter2 ssh h => sshpass -p *** ssh h
sshpass -phunter2 ssh h => sshpass -p*** ssh h
redis-cli -a hunter2 get k => redis-cli -a *** get k
docker login -u me -p hunter2 => docker login -u me -p ***
az login -u me -p hunter2 => az login -u me -p ***
curl -u me:hunter2 http://a/ => curl -u me:*** http://a/
curl --user=me:hunter2 => curl --user=me:***
curl -ume:hunter2 => curl -ume:***
curl -su me:hunter2 http://a => curl -su me:*** http://a
curl -sSfu me:hunter2 http://a => curl -sSfu me:*** http://a
curl -sSfume:hunter2 http://a => curl -sSfume:*** http://a
curl --oauth2-bearer hunter2 http://a => curl --oauth2-bearer *** http://a
curl -b session=hunter2 http://a => curl -b session=*** http://a
curl --cookie «a=hunter2; b=hunter2» http://a => curl --cookie «a=***; b=***» http://a
smbclient -U me%hunter2 //h/s => smbclient -U me%*** //h/s
smbclient //h/s hunter2 -U me => smbclient //h/s *** -U me
lftp -u me,hunter2 h => lftp -u me,*** h
lftp -e «open -u me,hunter2 h; ls» => lftp -e «open -u me,*** h; ls»
sqlplus scott/hunter2@db @a.sql => sqlplus scott/***@db @a.sql
vault login hunter2 => vault login ***
vault kv put secret/a b=hunter2 c=@file => vault kv put secret/a b=*** c=@file
mc alias set s3 http://h key hunter2 => mc alias set s3 http://h key ***
gh secret set A -b hunter2 => gh secret set A -b ***
heroku config:set A=hunter2 => heroku config:set A=***
xfreerdp /u:me /p:hunter2 /v:h => xfreerdp /u:me /p:*** /v:h
http -a me:hunter2 GET h => http -a *** GET h
jq -n --arg token hunter2 .a => jq -n --arg token *** .a
redis-cli CONFIG SET requirepass hunter2 => redis-cli CONFIG SET requirepass ***
redis-cli -h h AUTH hunter2 => redis-cli -h h AUTH ***
redis-cli auth me hunter2 => redis-cli auth me ***
twine upload -u me -p hunter2 a => twine upload -u me -p *** a
az keyvault secret set --name a --value hunter2 => az keyvault secret set --name a --value ***
vault unwrap hunter2 => vault unwrap ***
etcdctl --user root:hunter2 get a => etcdctl --user root:*** get a
etcdctl --user=root:hunter2 get a => etcdctl --user=root:*** get a
ssh-keygen -t rsa -N hunter2 -f a => ssh-keygen -t rsa -N *** -f a
openssl passwd -1 -salt a hunter2 => openssl passwd -1 -salt a ***
openssl dgst -sha256 -hmac hunter2 a => openssl dgst -sha256 -hmac *** a
cargo login cio0123456789abcdefghijABCDEFGHIJ012 => cargo login ***
dotnet nuget push a -k hunter2 -s b => dotnet nuget push a -k *** -s b
curl https://hooks.slack.com/services/T0/B0/hunter2 => curl https://hooks.slack.com/services/T0/B0/***
curl https://api.telegram.org/bot123:hunter2/sendMessage => curl https://api.telegram.org/bot123:***/sendMessage
curl https://discord.com/api/webhooks/1/hunter2?wait=true => curl https://discord.com/api/webhooks/1/***?wait=true
echo machine h login u password hunter2 => echo machine h login u password ***
"#;

const HARMLESS_PROGRAMS: &str = r#"
/usr/bin/mysqldump -p db
mysql --password db
mysql -h h -P 3306 -u root db
psql --password -h h db
docker run -p 80:80 img
docker run --name mongo -p 27017:27017 img
docker build --secret id=npmrc,src=a .
curl -b cookies.txt http://a/
curl -o out -Ss http://a/
curl -u me http://a
ssh -p 22 git@host
7z x a.7z -y
openssl pkey -key a.pem -passin file:/run/a
openssl enc -pass env:A
htpasswd -c file me
aws configure set region eu
git config user.name me
git config credential.helper store
sqlplus /nolog @a.sql
vault kv get secret/a
zip -r a.zip b
redis-cli get auth
openssl passwd -1 -in a
curl https://api.telegram.org/file
jq --arg a b .token
"#;

/// Commands within commands.
const WRAPPED: &str = r#"
sh -c «mysql -phunter2» => sh -c «mysql -p***»
sh -c «curl -u me:hunter2 http://h» => sh -c «curl -u me:*** http://h»
sh -c «sshpass -p hunter2 ssh h» => sh -c «sshpass -p *** ssh h»
/bin/bash -ec «mysql -phunter2; ls -p» => /bin/bash -ec «mysql -p***; ls -p»
dash -c «mysql -phunter2» => dash -c «mysql -p***»
zsh -lc «mysql -phunter2» => zsh -lc «mysql -p***»
ksh -c «mysql -phunter2» => ksh -c «mysql -p***»
ash -c «mysql -phunter2» => ash -c «mysql -p***»
busybox sh -c «mysql -phunter2» => busybox sh -c «mysql -p***»
sh -c -e «mysql -phunter2» => sh -c -e «mysql -p***»
sh -c «mysql --password=hunter2 < a» => sh -c «mysql --password=*** < a»
bash -c «MYSQL_PASSWORD=hunter2 cmd a; cmd b» => bash -c «MYSQL_PASSWORD=*** cmd a; cmd b»
sh -c «curl -H 'Authorization: Bearer hunter2' --password 'hunter2 y' http://h; TOKEN="hunter2" make» => sh -c «curl -H 'Authorization: Bearer ***' --password '***' http://h; TOKEN="***" make»
sh -c «a && mysql -p'hunter2 b' db | tee c» => sh -c «a && mysql -p'***' db | tee c»
sh -c «mysql -phunter\ 2hunter2 db» => sh -c «mysql -p*** db»
sh -c «mysql -p'hunter'"2" db» => sh -c «mysql -p'***'"" db»
sh -c «if mysql -phunter2; then echo it's; fi» => sh -c «if mysql -p***; then echo it's; fi»
sh -c «x=$(mysql -phunter2 -e 'a') && echo $x» => sh -c «x=$(mysql -p*** -e 'a') && echo $x»
sh -c «echo `mysql -phunter2`» => sh -c «echo `mysql -p***`»
sh -c «echo "a $(curl -u me:hunter2 h) b"» => sh -c «echo "a $(curl -u me:*** h) b"»
sh -c «export DB_PASSWORD=hunter2 A=b; c» => sh -c «export DB_PASSWORD=*** A=b; c»
sh -c «A=${DB_PASSWORD:-hunter2} b» => sh -c «A=${DB_PASSWORD:-***} b»
sh -c «sudo sh -c 'mysql -phunter2; ls'; pwd» => sh -c «sudo sh -c 'mysql -p***; ls'; pwd»
sudo sh -c «sudo -u a bash -ec "mysql -phunter2 a"; b» => sudo sh -c «sudo -u a bash -ec "mysql -p*** a"; b»
sh -c «ssh h "sh -c 'mysql -phunter2 a'" && b» => sh -c «ssh h "sh -c 'mysql -p*** a'" && b»
sh -c «curl -d '{"password":"hunter2","a":1}' h; ls» => sh -c «curl -d '{"password":"***","a":1}' h; ls»
sh -c «curl -d "{\"password\":\"hunter2\"}" h» => sh -c «curl -d "{\"password\":\"***\"}" h»
sh -c «git clone https://me:hunter2@h/a && cd a» => sh -c «git clone https://me:***@h/a && cd a»
sh -c «echo 'machine h login u password hunter2' > a» => sh -c «echo 'machine h login u password ***' > a»
sh -c «echo hunter2 | docker login -u me --password-stdin» => sh -c «echo *** | docker login -u me --password-stdin»
sh -c «printf %s 'hunter2' | gpg --batch --passphrase-fd 0 a» => sh -c «printf %s '***' | gpg --batch --passphrase-fd 0 a»
sh -c «cat > a <<EOF\na: it's\npassword: hunter2\nEOF\nmysql -phunter2» => sh -c «cat > a <<EOF\na: it's\npassword: ***\nEOF\nmysql -p***»
sh -c «bash <<-'E F'\nmysql -phunter2\n\tE F\ncat <<<a» => sh -c «bash <<-'E F'\nmysql -p***\n\tE F\ncat <<<a»
sh -c «x 'https://hooks.slack.com/'services/T0/B0/hunter2» => sh -c «x 'https://hooks.slack.com/'services/T0/B0/***»
sh -c «cat > .netrc <<EOF\nmachine h login u password hunter2\nEOF» => sh -c «cat > .netrc <<EOF\nmachine h login u password ***\nEOF»
env mysql -phunter2 => env mysql -p***
env A=b nice -n 5 mysql -phunter2 => env A=b nice -n 5 mysql -p***
sudo -u me mysqldump -phunter2 db => sudo -u me mysqldump -p*** db
xargs -0 mysql -phunter2 => xargs -0 mysql -p***
docker exec db mysql -phunter2 => docker exec db mysql -p***
docker exec db sh -c «mysql -phunter2» => docker exec db sh -c «mysql -p***»
kubectl exec db -- mysql -uroot -phunter2 => kubectl exec db -- mysql -uroot -p***
ssh h mysql -phunter2 => ssh h mysql -p***
ssh h «cd /a; mysql -phunter2» => ssh h «cd /a; mysql -p***»
timeout 5 mysql -phunter2 => timeout 5 mysql -p***
strace -f mysql -phunter2 => strace -f mysql -p***
nohup sshpass -p hunter2 scp a h: => nohup sshpass -p *** scp a h:
sshpass -p hunter2 mysql -phunter2 => sshpass -p *** mysql -p***
watch «mysql -phunter2 -e a» => watch «mysql -p*** -e a»
su me -c «mysql -phunter2» => su me -c «mysql -p***»
find . -exec mysql -phunter2 {} + => find . -exec mysql -p*** {} +
make «CMD=mysql -phunter2 a» => make «CMD=mysql -p*** a»
/bin/sh ./mysqldump -phunter2 db => /bin/sh ./mysqldump -p*** db
/usr/bin/python3 /opt/bin/mongosh -p hunter2 => /usr/bin/python3 /opt/bin/mongosh -p ***
/bin/sh -e /x/curl -su me:hunter2 h => /bin/sh -e /x/curl -su me:*** h
"#;

const HARMLESS_WRAPPED: &str = r#"
sh -c «for i in a b; do echo $i; done»
sh -c «mysql -p$DB_PASSWORD db»
sh -c «mysql -p"$DB_PASSWORD" db»
sh -c «TOKEN=$(cat token) make; curl -u me:$TOKEN h»
sh -c «git clone https://me:${TOKEN}@h/a»
sh -c «export TOKEN=${TOKEN:-} A_TOKEN=${B:?no token}; a»
sh -c «mysql -p < a; ls -phunter2»
sh -c «git log --show-signature HEAD; ls»
sh -c «echo 'mkdir -p a' # it's the token»
bash -c «curl -s http://h | tar xz; cp -pr a b»
sh -c «echo $TOKEN | docker login -u me --password-stdin»
sh -c «cat > a <<EOF\npassword: $PASSWORD\nEOF\nls -p»
env mysql -p
sudo -u me docker run -p 80:80 img
ssh -p 22 h mkdir -p a
"#;

/// Secrets on the standard input of a program.
const PIPED: &str = r#"
sh -c «if true; then echo hunter2 | docker login --password-stdin; fi» => sh -c «if true; then echo *** | docker login --password-stdin; fi»
sh -c «{ echo hunter2; } | docker login --password-stdin» => sh -c «{ echo ***; } | docker login --password-stdin»
sh -c «(echo hunter2) | docker login --password-stdin» => sh -c «(echo ***) | docker login --password-stdin»
sh -c «for i in a b; do echo hunter2; done | docker login --password-stdin» => sh -c «for i in a b; do echo ***; done | docker login --password-stdin»
sh -c «if a; then (b; echo hunter2); else c; fi | { cd d; docker login --password-stdin; }» => sh -c «if a; then (b; echo ***); else c; fi | { cd d; docker login --password-stdin; }»
sh -c «case $a in b) echo hi;; c) echo hunter2 | docker login --password-stdin;; esac» => sh -c «case $a in b) echo hi;; c) echo *** | docker login --password-stdin;; esac»
sh -c «f() { echo hunter2 | docker login --password-stdin; }; f» => sh -c «f() { echo *** | docker login --password-stdin; }; f»
sh -c «! A=1 sudo -u me env B=2 /bin/echo -n hunter2 | base64 | sudo docker login --password-stdin» => sh -c «! A=1 sudo -u me env B=2 /bin/echo -n *** | base64 | sudo docker login --password-stdin»
sh -c «echo hunter2 2>/dev/null | docker login --password-stdin» => sh -c «echo *** 2>/dev/null | docker login --password-stdin»
sh -c «echo hunter2 | 2>&1 docker login --password-stdin» => sh -c «echo *** | 2>&1 docker login --password-stdin»
sh -c «echo hunter2 |& >a docker login --password-stdin &>b» => sh -c «echo *** |& >a docker login --password-stdin &>b»
sh -c «echo hunter2 | tee a >b | docker login --password-stdin» => sh -c «echo *** | tee a >b | docker login --password-stdin»
sh -c «echo hunter2 |\n  docker login --password-stdin» => sh -c «echo *** |\n  docker login --password-stdin»
sh -c «echo hunter2 \\n  | docker login --password-stdin» => sh -c «echo *** \\n  | docker login --password-stdin»
sh -c «echo hunter2 hunter2 | docker login --password-stdin» => sh -c «echo *** *** | docker login --password-stdin»
sh -c «echo "$USER:hunter2" | chpasswd» => sh -c «echo "***" | chpasswd»
sh -c «echo hunter2$A | docker login --password-stdin» => sh -c «echo *** | docker login --password-stdin»
sh -c «printf 'hunter2' | docker login --password-stdin» => sh -c «printf '***' | docker login --password-stdin»
sh -c «printf '%s\n' hunter2 | docker login --password-stdin» => sh -c «printf '%s\n' *** | docker login --password-stdin»
sh -c «yes hunter2 | passwd me» => sh -c «yes *** | passwd me»
sh -c «docker login --password-stdin <<< hunter2» => sh -c «docker login --password-stdin <<< ***»
sh -c «docker login --password-stdin<<<"hunter2 b"» => sh -c «docker login --password-stdin<<<"***"»
sh -c «base64 -d <<< hunter2 | docker login --password-stdin» => sh -c «base64 -d <<< *** | docker login --password-stdin»
sh -c «while read -r a; do chpasswd; done <<< hunter2» => sh -c «while read -r a; do chpasswd; done <<< ***»
sh -c «(cd a; chpasswd) <<< hunter2» => sh -c «(cd a; chpasswd) <<< ***»
sh -c «docker login --password-stdin <<EOF\nhunter2\nEOF\nls» => sh -c «docker login --password-stdin <<EOF\n***\nEOF\nls»
sh -c «chpasswd <<'E'\n$USER:hunter2\nb:hunter2\nE\nls» => sh -c «chpasswd <<'E'\n***\nE\nls»
sh -c «cat <<EOF | sudo -kS ls\nhunter2\nEOF» => sh -c «cat <<EOF | sudo -kS ls\n***\nEOF»
sh -c «docker login --password-stdin < <(echo hunter2)» => sh -c «docker login --password-stdin < <(echo ***)»
sh -c «cryptsetup open --key-file <(printf %s hunter2) a b» => sh -c «cryptsetup open --key-file <(printf %s ***) a b»
sh -c «ansible-playbook --vault-password-file <(echo hunter2) a» => sh -c «ansible-playbook --vault-password-file <(echo ***) a»
sh -c «docker login --password-stdin <<< $(echo hunter2)» => sh -c «docker login --password-stdin <<< $(echo ***)»
sh -c «echo "$(echo hunter2 | base64 -d)" | docker login --password-stdin» => sh -c «echo "$(echo *** | base64 -d)" | docker login --password-stdin»
sh -c «mysql -p$(echo hunter2 | base64 -d) a; curl -u me:`echo hunter2` h» => sh -c «mysql -p$(echo *** | base64 -d) a; curl -u me:`echo ***` h»
sh -c «export TOKEN="$(echo hunter2 | base64 -d)"; a» => sh -c «export TOKEN="$(echo *** | base64 -d)"; a»
sh -c «sh -c 'echo hunter2' | docker login --password-stdin» => sh -c «sh -c 'echo ***' | docker login --password-stdin»
sh -c «echo hunter2 | sh -c 'cd a && docker login --password-stdin'» => sh -c «echo *** | sh -c 'cd a && docker login --password-stdin'»
ssh h «echo hunter2 | ssh g "sudo docker login --password-stdin"» => ssh h «echo *** | ssh g "sudo docker login --password-stdin"»
bash -lc «echo hunter2 | gh auth login --with-token» => bash -lc «echo *** | gh auth login --with-token»
env -S «echo hunter2 | vault login -» => env -S «echo *** | vault login -»
su -c «echo me:hunter2|chpasswd» => su -c «echo ***|chpasswd»
ssh h echo${IFS}a;chpasswd<<<hunter2 => ssh h echo${IFS}a;chpasswd<<<***
sh -c «echo hunter2 | /usr/sbin/chpasswd» => sh -c «echo *** | /usr/sbin/chpasswd»
sh -c «echo hunter2 | passwd --stdin me» => sh -c «echo *** | passwd --stdin me»
sh -c «echo hunter2 | sudo -S ls» => sh -c «echo *** | sudo -S ls»
sh -c «echo hunter2 | openssl enc -pass stdin» => sh -c «echo *** | openssl enc -pass stdin»
sh -c «echo hunter2 | openssl rsa -passin file:/dev/stdin» => sh -c «echo *** | openssl rsa -passin file:/dev/stdin»
sh -c «echo hunter2 | cryptsetup luksOpen a b -» => sh -c «echo *** | cryptsetup luksOpen a b -»
sh -c «echo hunter2 | helm registry login h --password-stdin» => sh -c «echo *** | helm registry login h --password-stdin»
sh -c «echo hunter2 | cargo login» => sh -c «echo *** | cargo login»
sh -c «echo hunter2 | kinit me» => sh -c «echo *** | kinit me»
sh -c «echo hunter2 | gh secret set A» => sh -c «echo *** | gh secret set A»
sh -c «echo hunter2 | docker secret create a -» => sh -c «echo *** | docker secret create a -»
sh -c «echo hunter2 | kubectl create secret generic a --from-file=b=/dev/stdin» => sh -c «echo *** | kubectl create secret generic a --from-file=b=/dev/stdin»
sh -c «echo hunter2 | vault kv put secret/a b=-» => sh -c «echo *** | vault kv put secret/a b=-»
sh -c «echo 'user = me:hunter2' | curl -K - h» => sh -c «echo '***' | curl -K - h»
sh -c «echo hunter2 | x --api-key-stdin; echo hunter2 | x --token-file=- a» => sh -c «echo *** | x --api-key-stdin; echo *** | x --token-file=- a»
sh -c «printf '%s\n%s\n' hunter2 hunter2 | aws configure» => sh -c «printf '%s\n%s\n' *** *** | aws configure»
sh -c «IFS= read -rs PASSWORD <<< hunter2» => sh -c «IFS= read -rs PASSWORD <<< ***»
"#;

const HARMLESS_PIPED: &str = r#"
sh -c «echo a && echo $TOKEN | docker login --password-stdin && echo b | tee c»
sh -c «echo a | tee b; echo "$TOKEN" | docker login --password-stdin | grep c»
sh -c «{ echo a; echo $TOKEN | docker login --password-stdin; echo b; } | tee c»
sh -c «case $a in b) echo a;; c) echo ${TOKEN} | docker login --password-stdin;; esac»
sh -c «aws ecr get-login-password --region a | docker login --password-stdin h»
sh -c «cat /run/token | docker login --password-stdin < a»
sh -c «printf '%s\n' "$TOKEN" | docker login --password-stdin; x <<< a»
sh -c «docker login --password-stdin <<< "$TOKEN"; cat <<EOF\na b\nEOF»
sh -c «docker login --password-stdin <<EOF\n${TOKEN}\nEOF»
sh -c «echo 'deb http://h a b' | sudo tee /etc/apt/a.list»
sh -c «diff <(echo a) <(echo b)»
sh -c «TOKEN=$(echo $A | jq -r .token) x; A=$(echo b)»
sh -c «echo a | bash --login -c b; login a»
"#;

/// Commands after the reserved words and wrappers of a shell.
const BEHIND: &str = r#"
sh -c «if docker login -p hunter2; then :; fi» => sh -c «if docker login -p ***; then :; fi»
sh -c «for i in a; do curl -u me:hunter2 h; done» => sh -c «for i in a; do curl -u me:*** h; done»
sh -c «a && TOKEN=hunter2 b || { DB_PASS=hunter2 c; }» => sh -c «a && TOKEN=*** b || { DB_PASS=*** c; }»
sh -c «if a; then TOKEN=hunter2 b; fi; set -x; export PASSWORD=hunter2» => sh -c «if a; then TOKEN=*** b; fi; set -x; export PASSWORD=***»
sh -c «docker login -u me &>/dev/null -p hunter2» => sh -c «docker login -u me &>/dev/null -p ***»
sh -c «docker login -u me 2>/dev/null -p hunter2» => sh -c «docker login -u me 2>/dev/null -p ***»
sh -c «docker login -p \\n hunter2» => sh -c «docker login -p \\n ***»
sh -c «PASSWORDS=(hunter2 hunter2); A=(mysql -p"hunter2")» => sh -c «PASSWORDS=***; A=(mysql -p"***")»
sh -c «x <(mysql -phunter2) -b --password hunter2» => sh -c «x <(mysql -p***) -b --password ***»
sh -c «read -p hunter PASSWORD; declare -x TOKEN=hunter2» => sh -c «read -p hunter PASSWORD; declare -x TOKEN=***»
git clone https://me:hunter2@h/docker => git clone https://me:***@h/docker
x TOKEN=/hunter2/curl -p 80 => x TOKEN=*** -p 80
ssh h «mysql -phunter2 < /tmp/curl» => ssh h «mysql -p*** < /tmp/curl»
bash -lc «while ! mysql -phunter2; do sleep 1; done» => bash -lc «while ! mysql -p***; do sleep 1; done»
su -c «docker login -p hunter2» me => su -c «docker login -p ***» me
ssh host «TOKEN=hunter2 cmd» => ssh host «TOKEN=*** cmd»
ssh host ls;mysql<a;TOKEN=hunter2 => ssh host ls;mysql<a;TOKEN=***
env -S «TOKEN=hunter2 mysql -phunter2» => env -S TOKEN=***
sh -c «A="mysql -phunter2"; $A» => sh -c «A="mysql -p***"; $A»
env «-SA=b mysql -phunter2» => env «-SA=b mysql -p***»
xargs -I{} sh -c «curl -u me:hunter2 {}» => xargs -I{} sh -c «curl -u me:*** {}»
find . -exec sh -c «curl -u me:hunter2 "$1"» x {} ; => find . -exec sh -c «curl -u me:*** "$1"» x {} ;
timeout 5 sh -c «curl -u me:hunter2 h» => timeout 5 sh -c «curl -u me:*** h»
nice -n 5 docker login -p hunter2 => nice -n 5 docker login -p ***
script -qc «docker login -p hunter2» /dev/null => script -qc «docker login -p ***» /dev/null
script -c «docker login -p hunter2» => script -c «docker login -p ***»
"#;

fn cases(table: &str) -> impl Iterator<Item = (Vec<String>, Vec<String>)> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let (given, expected) = line.split_once(" => ").unwrap_or((line, line));
        (arguments(given), arguments(expected))
    })
}

fn arguments(line: &str) -> Vec<String> {
    let (mut arguments, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        // `--a=«b c»` does not occur: the marks surround a whole argument.
        let (argument, behind) = match rest.strip_prefix('«') {
            Some(quoted) => quoted.split_once('»').unwrap(),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        arguments.push(argument.replace("\\n", "\n"));
        rest = behind.trim_start();
    }
    arguments
}

/// Prepares the first look, as in a long run. It skips arguments without secrets, and must not change the result.
fn prepared(redactor: Redactor) -> Redactor {
    redactor.prepare();
    redactor
}

fn redacted(redactor: &Redactor, given: &[String]) -> Vec<String> {
    let given: Strings = given.iter().collect();
    redactor.redact(&given).unwrap_or(given).iter().map(Into::into).collect()
}

fn check(tables: &[&str]) -> usize {
    let redactor = prepared(Redactor::default());
    let (mut count, mut wrong) = (0, Vec::new());
    for (given, expected) in tables.iter().flat_map(|table| cases(table)) {
        count += 1;
        let found = redacted(&redactor, &given);
        if found != expected {
            wrong.push(format!(
                "given    {}\nexpected {}\nfound    {}\n",
                given.join(" "),
                expected.join(" "),
                found.join(" ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    count
}

const SECRETS: [&str; 6] = [NAMES, TEXTS, PROGRAMS, WRAPPED, PIPED, BEHIND];
const HARMLESS: [&str; 5] = [HARMLESS_NAMES, HARMLESS_TEXTS, HARMLESS_PROGRAMS, HARMLESS_WRAPPED, HARMLESS_PIPED];

#[test]
fn secrets_are_replaced_and_nothing_else() {
    let count = check(&SECRETS);
    assert!(count >= 150, "{count}");
    for (given, expected) in SECRETS.iter().flat_map(|table| cases(table)) {
        assert_ne!(given, expected);
        assert!(!expected.join(" ").contains("hunter2"), "{expected:?}");
    }
}

#[test]
fn harmless_text_stays() {
    assert!(check(&HARMLESS) >= 75);
    assert!(HARMLESS.iter().flat_map(|table| cases(table)).all(|(given, expected)| given == expected));
}

#[test]
fn a_second_redaction_changes_nothing() {
    let redactor = prepared(Redactor::default());
    for (_, expected) in SECRETS.iter().flat_map(|table| cases(table)) {
        assert_eq!(redacted(&redactor, &expected), expected);
    }
}

#[test]
fn redacted_arguments_are_still_truncated() {
    let whole: Strings = ["x", "--password=hunter2", "rest"].into_iter().collect();
    let cut = Strings { size: whole.size + 100, ..whole };
    let redacted = prepared(Redactor::default()).redact(&cut).unwrap();
    assert_eq!(redacted.size, redacted.bytes.len() as u64 + 100);
    assert!(redacted.is_truncated());
}

#[test]
fn users_add_and_remove_names_of_secrets() {
    let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Pattern>>();
    let redactor = prepared(Redactor::new(patterns(&["*_dsn", "plan"]), patterns(&["build_token"])));
    for (given, expected) in cases(
        "
x --db-dsn=hunter2 => x --db-dsn=***
x --plan hunter2 => x --plan ***
env SENTRY_DSN=hunter2 x => env SENTRY_DSN=*** x
sh -c «SENTRY_DSN=hunter2 x; y» => sh -c «SENTRY_DSN=*** x; y»
x {\"sentryDsn\":\"hunter2\"} => x {\"sentryDsn\":\"***\"}
x --build-token=a BUILD_TOKEN=b --build-token c
x --npm-token=hunter2 => x --npm-token=***
",
    ) {
        assert_eq!(redacted(&redactor, &given), expected);
    }
    let all = prepared(Redactor::new(patterns(&["*"]), Vec::new()));
    assert_eq!(redacted(&all, &arguments("x --level=hunter2 A=hunter2")), arguments("x --level=*** A=***"));
}

#[test]
fn a_text_that_is_not_a_command_is_searched_too() {
    assert_eq!(text("https://me:hunter2@host/?token=hunter2&a=b"), "https://me:***@host/?token=***&a=b");
}

/// Pieces of secrets, names and scripts.
const FRAGMENTS: [&str; 106] = [
    "pass",
    "word",
    "PASS",
    "wd",
    "Pwd",
    "-",
    "--",
    "_",
    ".",
    "=",
    " ",
    " ",
    ":",
    "://",
    "@",
    "/",
    "a",
    "9",
    "user",
    "token",
    "Token",
    "pat",
    "sig",
    "auth",
    "Authorization: ",
    "api",
    "key",
    "Key",
    "secret",
    "id",
    "connection",
    "string",
    "'",
    "\"",
    "\\",
    "\\\"",
    "$",
    "$(",
    ")",
    "`",
    "{",
    "}",
    "${",
    ";",
    "|",
    "&",
    "?",
    ",",
    "\n",
    "#",
    "<",
    "ä",
    "ghp_0123456789abcdef",
    "AKIA0123456789ABCDEF",
    "eyJhbGciOiJI.eyJzdWIiOiIx",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-H",
    "-b",
    "-u",
    "bearer",
    "cred",
    "ential",
    "mysql",
    "curl",
    "openssl",
    "sh -c ",
    "-p",
    "-c",
    "no",
    "cookie",
    "x",
    "set ",
    "hunter2",
    "name",
    "identified ",
    "by ",
    "hooks.slack.com/",
    "services/",
    "<<",
    "EOF",
    "echo ",
    "--password-stdin",
    "machine ",
    "--arg ",
    "redis-cli ",
    "AUTH ",
    "cio0123456789abcdefghijABCDEFGHIJ",
    "lftp",
    "printf ",
    " | ",
    "; ",
    "(",
    "<<< ",
    "<(",
    "chpasswd",
    "login",
    "sudo -S",
    "cryptsetup ",
    "kinit ",
    "/dev/stdin",
    "-stdin",
    "-fd",
    "read ",
    "if ",
    "fi",
    "\\\n",
];

const WRITERS: [&str; 9] = [
    "echo hunter2",
    "/bin/echo -n 'hunter2'",
    "printf '%s\\n' hunter2 2>/dev/null",
    "printf \"hunter2\\n\"",
    "cat <<< hunter2",
    "cat < <(echo hunter2)",
    "sh -c 'echo hunter2'",
    "echo $(printf hunter2)",
    "yes me:hunter2 >&1",
];

const READERS: [&str; 6] = [
    "docker login --password-stdin",
    "docker login -u me --password-stdin h >/dev/null",
    "gh auth login --with-token",
    "/usr/sbin/chpasswd",
    "sudo -S ls",
    "ssh h 'cd a; vault login -'",
];

/// Words before a simple command. `@` is its place.
const BEFORE: [&str; 8] =
    ["@", "\\\n@", "A=1 B='c d' @", "sudo -u me @", "env A=1 @", "time command @", "nohup @", "exec nice -n 5 @"];

/// Commands around a command.
const AROUND: [&str; 16] = [
    "if true; then @; fi",
    "if @; then b; else c; fi",
    "if a; then b; else\n@\nfi",
    "for a in b c; do @; done",
    "while ! @; do sleep 1; done",
    "case $a in b) c;; d) @;; esac",
    "case $a in (b) c;; (d) @;; esac",
    "{ @; }",
    "(@)",
    "( cd a && @ )",
    "f() { @; }",
    "! @",
    "a; @",
    "{ a || @ # it's\n}",
    "@ | tee a",
    "tr a b | @",
];

fn around(commands: &'static [&'static str]) -> impl Strategy<Value = String> {
    let nested = |(command, before, around): (&str, &str, Vec<&str>)| {
        around.iter().fold(before.replace('@', command), |inner, around| around.replace('@', &inner))
    };
    (select(commands), select(&BEFORE), vec(select(&AROUND), 0..4)).prop_map(nested)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    /// The first look has no false negatives. No text causes a panic. Redaction only replaces text by `***`.
    #[test]
    fn the_first_look_misses_nothing(arguments in vec(vec(select(&FRAGMENTS), 0..8), 1..5)) {
        let arguments: Vec<String> = arguments.iter().map(|fragments| fragments.concat()).collect();
        let given: Strings = arguments.iter().collect();
        static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| prepared(Redactor::default()));
        let redactor = &*REDACTOR;
        let all = redactor.redact_without_first_look(&given);
        prop_assert_eq!(redactor.redact(&given), all.clone());
        // The other characters keep their order, and only `***` is added.
        for (before, after) in arguments.iter().zip(all.iter().flat_map(Strings::iter)) {
            let mut rest = before.chars();
            let is_left = after.replace("***", "").chars().all(|kept| rest.any(|c| c == kept));
            prop_assert!(is_left, "{} became {}", before, after);
        }
        prop_assert!(all.is_none_or(|all| all.iter().count() == arguments.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// In any script, the redactor finds the command that writes a secret and the command that reads it.
    #[test]
    fn a_secret_on_standard_input_is_replaced_in_any_script(
        writer in around(&WRITERS),
        reader in around(&READERS),
        pipe in select(&["|", " | ", " |& ", " |\n  ", " \\\n| "]),
        outer in select(&AROUND),
    ) {
        // A pipe reads only the last command of a list. So braces are put around a list.
        let group = |text: String| if text.contains([';', '|']) { format!("{{ {text}\n}}") } else { text };
        let script = outer.replace('@', &format!("{}{pipe}{}", group(writer), group(reader)));
        for given in [&["sh", "-c", &script][..], &["ssh", "h", &script], &["x", &script]] {
            let given: Vec<String> = given.iter().copied().map(str::to_owned).collect();
            let found = redacted(&Redactor::default(), &given).join(" ");
            prop_assert!(!found.contains("hunter2"), "{} became {}", script, found);
        }
    }
}

/// The work grows with the size of the arguments, and not with its square. The test asserts no time. With quadratic work it
/// takes minutes in a debug build, instead of seconds.
#[test]
fn hostile_arguments_take_linear_work() {
    const SIZE: usize = 128 * 1024;
    let redactor = prepared(Redactor::default());
    for (start, pattern, end) in [
        ("PASSWORD=", "a ", ""),
        ("x,password=", "a ", ""),
        ("x", ",9password=a ", ""),
        ("", "?pat=x", ".pem"),
        ("", "pat=", ".pem"),
        ("", "x-sig:", ".pem"),
        ("", "x-sig:'", ""),
        ("", "${pat:-", ".pem"),
        ("", "\"pat\":[", ".pem"),
        ("", "\"pat\":\"x", ".pem"),
        ("", "eyJ-", ""),
        ("", "://", ""),
        ("", "a://b@c/", ""),
        ("", "'", ""),
        ("", "\"", ""),
        ("", "a'b\"", ""),
        ("", "$(", ""),
        ("", "${", ""),
        ("", "`a ", ""),
        ("", "{\"a\":", ""),
        ("", "a=a=", ""),
        ("", "password ", ""),
        ("", "password '", ""),
        ("", "password = ", ""),
        ("", "password: ", ""),
        ("", "<<-A ", ""),
        ("", "<<A <<B\n", ""),
        ("", "mysql -p ", ""),
        ("", "identified by ", "'"),
        ("", "echo a\n", ""),
        ("", "redis-cli auth ", ""),
        ("", "https://hooks.slack.com/services/", ""),
        ("", "echo a|login|", ""),
        ("", "echo a | sudo ", ""),
        ("", "(echo a|", "login"),
        ("", "if echo a | login; then ", ""),
        ("", "fi) esac } ", ""),
        ("", "a=(b ", ""),
        ("", "<(echo a|", ""),
        ("", "a<<<b ", "| login"),
        ("", "a <<A\nb\nA\n", ""),
        ("login", "<<A\n", ""),
        ("login ", "<<A ", "\nb\n"),
        ("", "password=$(echo a) ", ""),
        ("", "read --password-fd - ", "| login"),
    ] {
        let count = (SIZE - start.len() - end.len()) / pattern.len();
        let text = [start, &pattern.repeat(count), end].concat();
        for given in [&["x", &text][..], &["sh", "-c", &text], &["x", &format!("{}!{text}", "a".repeat(SIZE / 2))]] {
            let given: Strings = given.iter().collect();
            if let Some(all) = redactor.redact_without_first_look(&given) {
                assert_eq!(all.iter().count(), given.iter().count(), "{pattern}");
            }
        }
    }
}
