"""Odd values of fields that rules and patterns of the definition read: all validators must agree on them."""

# ruff: noqa: RUF001 - characters that resemble others are among them

from collections.abc import Iterator
from typing import Any

from contract.crd.making import changed

# One regular expression a line.
_SUBJECT_GROUPS = r"""
(\pL{1000})
(\pL{256})
(\C)
(a)\C
(?<n>a)
(?P<n>a)
(?P<1>a)
(?<é>a)
(?P<é>a)
(?P<n->a)
(?'n'a)
(a)(?=b)
(a)(?!b)
(?>a)()
(a)\1
(a)\8
(\01)
(\7)
(\777)
(\123)
(\x{10FFFF})
(\x{110000})
(\x{D800})
(\xZZ)
(\x4)
(\u0041)
(\Qa(b\E)
\Q(\E(a)
\Q(a
(\E)
(a\E)
(\pN)
(\p{Greek})
(\p{greek})
(\p{Letter})
(\p{LC})
(\p{Cn})
(\p{Any})
(\p{ASCII})
(\p{Assigned})
(\p{Lowercase_Letter})
(\p{Kawi})
(\p{Nag_Mundari})
(\p{Garay})
(\p{Vithkuqi})
(\p{Sidetic})
(\p{Cypro_Minoan})
(\p{^L})
(\P{^L})
(\pX)
(\p{})
(\p{script=Greek})
(a**)
(a*+)
(a++)
(a*?)
(a??)
(a???)
(a{2}{3})
(a{2}*)
(a{1001})
(a{1000}{1})
(a{,5})
(a{5,})
(a{5,2})
(a{0})
(a{00002})
((?:a{100}){100})
((?:a{10}){100})
((?:a{10}){101})
((?:(?:a{10}){10}){10})
((?:a{0,33}){0,33})
()
(|)
(a|*)
(*a)
(?)
(?i)
(?i:a)()
(?U)(a+)
(?x)(a)
(?-i)(a)
(?i-)(a)
(?-)(a)
(?s-s)(a)
(?si:a)(b)
(?flags)(a)
(?#comment)(a)
([a-\d])
([\d-z])
([z-a])
([])
([]a])
([^])
([^]a])
([[:word:]])
([[:foo:]])
([[:^alpha:]])
([[.a.]])
([[=a=]])
([a[:digit:]])
([\b])
([\B])
([\pL-z])
([\Q]\E])
(\b)
(\B)
(\A)
(\z)
(\Z)
(\G)
(\R)
(\X)
(\K)
(\h)
(\v)
(\V)
(\N)
(\e)
(\cA)
(\a\f\t\n\r\v)
(\_)
(\-)
(\é)
(\ )
(^*)
($+)
(\b+)
(^{2})
a)(
(
)
((
[
(a]
{(a)
(a){
(a){1
(a){1,2
(a){x}
a(?i)(b)
(a)|(?i)
(?i)(ſ)
(?i)(K)
((?i)a(?-i)b)
(a)(?P=n)
(?P>n)(a)
(?&n)(a)
(?R)(a)
(?1)(a)
(?(1)a|b)
(?|(a)|(b))
(?<=a)(b)
(?<!a)(b)
(?:a(?:b(?:c))(d))
(?P<a>x)(?P<a>y)
(?P<>x)
(?P<a)
(?Pa)
\
(a)\
(\\)
(a.b)
(?m)^(a)$
(?mi-s:a)(b)
($)
(é)
(🦙{3})
([🦙-🦚])
([а-яё]{300})
(.{1000})
(\d{999})
([[:word:]&&[^a]])
(a&&b)
(?^i)(a)
(?i)([ſK])
(\p{L}\p{M}*)
([^\x00-\x{10FFFF}])
[^\x00-\x{10FFFF}](a)
([\x{10FFFF}-\x{10FFFF}])
(\00)
(\08)
(\0)
([\0])
([\1])
(\Q\E)
(\Qa\E*)
(\Q\E*)
\Q\E(a)
(?i)\Q(a\E(b)
(\Qa{2}\E)
(\Q\\E)
(a\Q)
(\Qa)
([a-])
([-a])
([a--])
([--a])
([a-b-c])
([+--])
"""
SUBJECT_GROUPS = (
    *_SUBJECT_GROUPS.strip("\n").split("\n"),
    "(a\x00)",
    "(\x7f)",
    "(\x85)",
    "( )",
    "(a\n)",
    "\ufeff(a)",
    "(\u2028)",
    "(" * 100 + ")" * 100,
    "(" + "(?:" * 60 + "a" + ")" * 60 + ")",
    "(" + "a?" * 120 + ")",
    "(" + "|".join("ab" * 40) + ")",
    "(" + "[^a]{1000}" * 25 + ")",
    "(" + "[^a]{512}" * 28 + ")",
    "(" + r"\pL" * 84 + ")",
    "((?:" + r"\pL" * 50 + "){10})",
    "(" + r"\pL{512}" * 30 + ")",
    "(" + "." * 250 + ")",
    "(" + ".{255}" * 40 + ")",
)
QUEUE_PATTERNS = (
    *(
        "*",
        "**",
        "* ",
        "*\n",
        "\n",
        "*\r",
        "*\u2028*",
        "*\x00",
        "*\u200b",
        "\ufeff*",
        "*\x85*",
        "a*",
        "\\*",
        "[*]",
        "(",
        "é*",
        "🦙",
    ),
    *("\t", " ", "*" * 256, "🦙" * 256),
)
URLS = (
    "https://a.example/\n",
    "https://a.example\n",
    "\nhttps://a.example/",
    "https://a.example/é",
    "https://é.example/",
    "https://a.example/%e",
    "https://a.example/%C3%A9",
    "https://a.example/\u2028",
    "https://a.example/\x00",
    "https://a.example/x%2e",
    "https://a.example/.%2E/",
    "https://a.example/a/./b",
    "https://a.example/...",
    "https://a.example/;/..;/",
    "https://a.example:0/",
    "https://a.example:00443/",
    "https://a.example:65536",
    "https://a.example:4٣/",
    "https://a.example:443\n",
    "https://a.example.",
    "https://a..example/",
    "https://-a.example/",
    "https://a-.example/",
    "https://a_b.example/",
    "https://*.a.example",
    "https://*a.example/",
    "https://[::1",
    "https://[::1]x/",
    "https://[fe80::1%eth0]/",
    "https://[::ffff:10.0.0.1]/",
    "https://256.1.1.1/",
    "https://1.2.3/",
    "https://0x7f.1/",
    "https://a.example\\@b.example/",
    "https:///a",
    "https:/a.example",
    "HTTPS://a.example/",
    "https://user@a.example/",
    "https://a.example/a@b",
    "https://K.example/",  # the Kelvin sign
    "http://\uff41.example/",
)
CIDRS = (
    "10.0.0.0/8\n",
    "10.0.0.0/08",
    "10.0.0.0/+8",
    "::/0",
    "0::/0",
    "fe80::%1/64",
    "10.0.0/8",
    "::ffff:0:0/96",
    "1.1.1.1/32 ",
    "١.0.0.0/8",
)
CLASSES = ("404", "404\n", " 404", "4٠4", "299", "600", "5xx", "5XX", "any ", "４04")
QUANTITIES = ("1", "1\n", "1e3", "1E3", ".5", "1.", "0.5", "1Ki", "1ki", "-1", "１")


def odd_documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Routes with one odd value each, and what is odd about them."""
    for value in SUBJECT_GROUPS:
        if len(value) <= 256:
            yield f"subjectGroup.pattern {value!r}", changed({"spec.subjectGroup": {"pattern": value}})
    for value in QUEUE_PATTERNS:
        yield f"subjects {value!r}", changed({"spec.queues": [{"name": "a", "subjects": [value]}, {"name": "b"}]})
    for value in URLS:
        yield f"url {value!r}", changed({"spec.targets.allow.0.url": value})
    for value in CIDRS:
        yield f"cidrs {value!r}", changed({"spec.targets.allow.0.cidrs": [value]})
    for value in CLASSES:
        retry = {"rungs": [{"name": "fast", "delaySeconds": 5}], "ladders": [{"class": value, "rungs": ["fast"]}]}
        yield f"class {value!r}", changed({"spec.retry": retry})
    for value in QUANTITIES:
        yield f"memory {value!r}", changed({"spec.workers.resources.limits": {"memory": value}})
