"""Sentences of a story problem in the eleven languages of MGSM.

Each language has the same parts: `have`, `boxes` (how a story starts), `gain`, `lose`, `share`
(what happens), `ask`, `ask_share` (the question), and a step of the answer for each of them.
`{n}` is a name, `{t}` the things, `{a}`, `{b}`, `{c}` numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """The sentences of one language; see the module's docstring for the placeholders."""

    names: tuple[str, ...]
    things: tuple[str, ...]
    have: str
    boxes: str
    gain: str
    lose: str
    share: str
    ask: str
    ask_share: str
    boxed: str
    gained: str
    lost: str
    shared: str


LANGUAGES: dict[str, Language] = {
    "en": Language(
        ("Tom", "Anna", "Ben", "Maria", "Sam", "Lucy"),
        ("apples", "books", "pens", "eggs", "coins", "cards"),
        "{n} has {a} {t}.",
        "{n} has {a} boxes with {b} {t} each.",
        "{n} buys {b} more {t}.",
        "{n} gives away {b} {t}.",
        "{n} shares the {t} equally among {b} friends.",
        "How many {t} does {n} have now?",
        "How many {t} does each friend get?",
        "The boxes hold {a} * {b} = {c} {t}.",
        "After buying more, {n} has {a} + {b} = {c} {t}.",
        "After giving some away, {n} has {a} - {b} = {c} {t}.",
        "Each friend gets {a} / {b} = {c} {t}.",
    ),
    "de": Language(
        ("Tom", "Anna", "Jonas", "Lena", "Felix", "Marie"),
        ("Äpfel", "Bücher", "Stifte", "Eier", "Münzen", "Karten"),
        "{n} hat {a} {t}.",
        "{n} hat {a} Kisten, in jeder sind {b} {t}.",
        "{n} kauft {b} weitere {t}.",
        "{n} verschenkt {b} {t}.",
        "{n} verteilt die {t} gleichmäßig an {b} Freunde.",
        "Wie viele {t} hat {n} jetzt?",
        "Wie viele {t} bekommt jeder Freund?",
        "In den Kisten sind {a} * {b} = {c} {t}.",
        "Nach dem Kauf hat {n} {a} + {b} = {c} {t}.",
        "Nach dem Verschenken hat {n} {a} - {b} = {c} {t}.",
        "Jeder Freund bekommt {a} / {b} = {c} {t}.",
    ),
    "es": Language(
        ("Juan", "Ana", "Pedro", "María", "Luis", "Elena"),
        ("manzanas", "libros", "lápices", "huevos", "monedas", "cartas"),
        "{n} tiene {a} {t}.",
        "{n} tiene {a} cajas con {b} {t} cada una.",
        "{n} compra {b} {t} más.",
        "{n} regala {b} {t}.",
        "{n} reparte por igual las {t} entre {b} amigos.",
        "¿Cuántas {t} tiene {n} ahora?",
        "¿Cuántas {t} recibe cada amigo?",
        "En las cajas hay {a} * {b} = {c} {t}.",
        "Después de comprar, {n} tiene {a} + {b} = {c} {t}.",
        "Después de regalar, {n} tiene {a} - {b} = {c} {t}.",
        "Cada amigo recibe {a} / {b} = {c} {t}.",
    ),
    "fr": Language(
        ("Jean", "Anne", "Pierre", "Marie", "Louis", "Claire"),
        ("pommes", "livres", "stylos", "œufs", "pièces", "cartes"),
        "{n} a {a} {t}.",
        "{n} a {a} boîtes avec {b} {t} chacune.",
        "{n} achète {b} {t} de plus.",
        "{n} donne {b} {t}.",
        "{n} partage également les {t} entre {b} amis.",
        "Combien de {t} {n} a-t-il maintenant ?",
        "Combien de {t} chaque ami reçoit-il ?",
        "Les boîtes contiennent {a} * {b} = {c} {t}.",
        "Après l'achat, {n} a {a} + {b} = {c} {t}.",
        "Après le don, {n} a {a} - {b} = {c} {t}.",
        "Chaque ami reçoit {a} / {b} = {c} {t}.",
    ),
    "ru": Language(
        ("Иван", "Анна", "Пётр", "Мария", "Олег", "Ольга"),
        ("яблок", "книг", "ручек", "яиц", "монет", "карт"),
        "У {n} есть {a} {t}.",
        "У {n} есть {a} коробок, в каждой {b} {t}.",
        "{n} покупает ещё {b} {t}.",
        "{n} отдаёт {b} {t}.",
        "{n} делит {t} поровну между {b} друзьями.",
        "Сколько {t} теперь у {n}?",
        "Сколько {t} получит каждый друг?",
        "В коробках {a} * {b} = {c} {t}.",
        "После покупки у {n} {a} + {b} = {c} {t}.",
        "После этого у {n} {a} - {b} = {c} {t}.",
        "Каждый друг получит {a} / {b} = {c} {t}.",
    ),
    "sw": Language(
        ("Juma", "Asha", "Baraka", "Neema", "Hassan", "Zawadi"),
        ("maembe", "vitabu", "kalamu", "mayai", "sarafu", "kadi"),
        "{n} ana {t} {a}.",
        "{n} ana masanduku {a} yenye {t} {b} kila moja.",
        "{n} ananunua {t} {b} zaidi.",
        "{n} anagawa {t} {b}.",
        "{n} anagawanya {t} kwa usawa kwa marafiki {b}.",
        "{n} ana {t} ngapi sasa?",
        "Kila rafiki anapata {t} ngapi?",
        "Masanduku yana {t} {a} * {b} = {c}.",
        "Baada ya kununua, {n} ana {t} {a} + {b} = {c}.",
        "Baada ya kugawa, {n} ana {t} {a} - {b} = {c}.",
        "Kila rafiki anapata {t} {a} / {b} = {c}.",
    ),
    "zh": Language(
        ("小明", "小红", "小华", "小丽", "小刚", "小美"),
        ("苹果", "书", "铅笔", "鸡蛋", "硬币", "卡片"),
        "{n}有 {a} 个{t}。",
        "{n}有 {a} 个盒子,每个盒子里有 {b} 个{t}。",
        "{n}又买了 {b} 个{t}。",
        "{n}送出了 {b} 个{t}。",
        "{n}把{t}平均分给 {b} 个朋友。",
        "{n}现在有多少个{t}？",
        "每个朋友得到多少个{t}？",
        "盒子里有 {a} * {b} = {c} 个{t}。",
        "买了以后,{n}有 {a} + {b} = {c} 个{t}。",
        "送出以后,{n}有 {a} - {b} = {c} 个{t}。",
        "每个朋友得到 {a} / {b} = {c} 个{t}。",
    ),
    "ja": Language(
        ("太郎", "花子", "健太", "美咲", "翔", "愛"),
        ("りんご", "本", "ペン", "卵", "コイン", "カード"),
        "{n}は{t}を{a}個持っています。",
        "{n}は{t}が{b}個ずつ入った箱を{a}箱持っています。",
        "{n}は{t}をさらに{b}個買います。",
        "{n}は{t}を{b}個あげます。",
        "{n}は{t}を{b}人の友達に等しく分けます。",
        "{n}は今{t}を何個持っていますか？",
        "友達は1人{t}を何個もらいますか？",
        "箱の{t}は{a} * {b} = {c}個です。",
        "買った後、{n}の{t}は{a} + {b} = {c}個です。",
        "あげた後、{n}の{t}は{a} - {b} = {c}個です。",
        "友達は1人{t}を{a} / {b} = {c}個もらいます。",
    ),
    "bn": Language(
        ("রহিম", "মিনা", "করিম", "রিনা", "অমল", "সীমা"),
        ("আপেল", "বই", "কলম", "ডিম", "মুদ্রা", "কার্ড"),
        "{n} এর কাছে {a}টি {t} আছে।",
        "{n} এর কাছে {a}টি বাক্স আছে, প্রতিটিতে {b}টি {t}।",
        "{n} আরও {b}টি {t} কেনে।",
        "{n} {b}টি {t} দিয়ে দেয়।",
        "{n} {t} {b} জন বন্ধুর মধ্যে সমান ভাগ করে।",
        "{n} এর কাছে এখন কয়টি {t} আছে?",
        "প্রত্যেক বন্ধু কয়টি {t} পায়?",
        "বাক্সে {a} * {b} = {c}টি {t} আছে।",
        "কেনার পরে {n} এর {a} + {b} = {c}টি {t} আছে।",
        "দেওয়ার পরে {n} এর {a} - {b} = {c}টি {t} আছে।",
        "প্রত্যেক বন্ধু {a} / {b} = {c}টি {t} পায়।",
    ),
    "te": Language(
        ("రవి", "సీత", "రాము", "లక్ష్మి", "గోపి", "రాధ"),
        ("ఆపిల్స్", "పుస్తకాలు", "పెన్నులు", "గుడ్లు", "నాణేలు", "కార్డులు"),
        "{n} దగ్గర {a} {t} ఉన్నాయి.",
        "{n} దగ్గర {a} పెట్టెలు ఉన్నాయి, ఒక్కోదానిలో {b} {t}.",
        "{n} మరో {b} {t} కొంటారు.",
        "{n} {b} {t} ఇచ్చేస్తారు.",
        "{n} {t} {b} స్నేహితులకు సమానంగా పంచుతారు.",
        "{n} దగ్గర ఇప్పుడు ఎన్ని {t} ఉన్నాయి?",
        "ఒక్కో స్నేహితుడికి ఎన్ని {t} వస్తాయి?",
        "పెట్టెలలో {a} * {b} = {c} {t} ఉన్నాయి.",
        "కొన్న తరువాత {n} దగ్గర {a} + {b} = {c} {t} ఉన్నాయి.",
        "ఇచ్చిన తరువాత {n} దగ్గర {a} - {b} = {c} {t} ఉన్నాయి.",
        "ఒక్కో స్నేహితుడికి {a} / {b} = {c} {t} వస్తాయి.",
    ),
    "th": Language(
        ("สมชาย", "มาลี", "วิชัย", "นิดา", "อนันต์", "สุดา"),
        ("แอปเปิล", "หนังสือ", "ปากกา", "ไข่", "เหรียญ", "การ์ด"),
        "{n}มี{t} {a} ชิ้น",
        "{n}มีกล่อง {a} กล่อง แต่ละกล่องมี{t} {b} ชิ้น",
        "{n}ซื้อ{t}เพิ่มอีก {b} ชิ้น",
        "{n}ให้{t}ไป {b} ชิ้น",
        "{n}แบ่ง{t}ให้เพื่อน {b} คนเท่าๆ กัน",
        "ตอนนี้{n}มี{t}กี่ชิ้น",
        "เพื่อนแต่ละคนได้{t}กี่ชิ้น",
        "ในกล่องมี{t} {a} * {b} = {c} ชิ้น",
        "หลังจากซื้อ {n}มี{t} {a} + {b} = {c} ชิ้น",
        "หลังจากให้ {n}มี{t} {a} - {b} = {c} ชิ้น",
        "เพื่อนแต่ละคนได้{t} {a} / {b} = {c} ชิ้น",
    ),
}
