"""Refusals in languages beside English: regular expressions over one sentence of plain text, searched anywhere in it.

Each finds a first person that cannot or will not, or an impersonal "that is not possible". A language is one entry.
"""

# Words of courtesy, English ones included, that may stand before one of the user's own phrases.
COURTESY = (
    r"(?:\b(?:(?:i'm |i am |we're |we are )?(?:\w+ )?(?:sorry|afraid)|(?:i |we )?apologi[sz]e|apologies"
    r"|unfortunately|regrettably|sadly|alas|however|but|well|okay|ok"
    r"|hello|hi|hey|thank(?:s| you)|(?:i )?(?:understand|appreciate|see)|as an ai|respectfully|honestly|leider"
    r"|tut mir leid|entschuldigung|aber"
    r"|désolée?|malheureusement|lo siento|lamentablemente|mi dispiace|purtroppo|desculpe|sinto muito"
    r"|infelizmente|helaas|het spijt me|sorry"
    r"|przepraszam|niestety|извините|простите|к сожалению)\b"
    r"|抱歉|对不起|對不起|不好意思|很遗憾|谢谢|感谢|申し訳(?:ありません|ございません)(?:が)?|すみません(?:が)?|ごめんなさい|残念(?:ながら|ですが)|恐れ入りますが"
    r"|죄송(?:합니다|하지만|해요)(?:만)?|미안(?:합니다|하지만|해요|해)(?:만)?|안타깝게도|유감스럽게도|ขออภัย(?:ค่ะ|ครับ)?|ขอโทษ(?:ค่ะ|ครับ|ด้วย)?"
    r"|เสียใจ(?:ด้วย)?)"
)

DECLINES = {
    "German": (
        r"\bich (?:kann|darf|werde|möchte|will|bin)\b(?: \w+,?){0,9}? ?\b(?:nicht|keine?[nrms]?|ablehnen"
        r"|außerstande)\b",
        r"\b(?:kann|darf|werde|möchte|will|bin) ich\b(?: \w+,?){0,9}? ?\b(?:nicht|keine?[nrms]?|ablehnen"
        r"|außerstande)\b",
        r"\b(?:ich (?:mache|tue|sage|gebe|verrate|schreibe|helfe)|(?:mache|tue|sage|gebe|verrate|schreibe|helfe) ich)\b"
        r"(?: \w+){0,4}? nicht\b",
        r"\b(?:ich muss|muss ich)\b(?: \w+,?){0,9}? ?\b(?:ablehnen|passen|absagen)\b",
        r"\bich (?:lehne|weigere|verweigere)\b",
        r"\b(?:das|dies) (?:ist (?:mir )?(?:leider )?nicht (?:möglich|erlaubt|gestattet)|geht (?:leider )?nicht)\b",
    ),
    "French": (
        r"\bje (?:ne |n')(?:\w+ )?(?:peux|pourrai|puis|suis|veux|vais|dois|fournis|saurais)\b(?: "
        r"(?:malheureusement|vraiment))?(?: pas\b| en mesure\b|(?= (?:fournir|aider|répondre|vous|te|donner)\b))",
        r"\bje ne (?:\w+ ){0,2}(?:ferai|dirai|donnerai|aiderai|répondrai|écrirai|fais|dis|donne|réponds) pas\b",
        r"\bje (?:refuse|décline|dois (?:refuser|décliner))\b",
        r"\bil (?:ne )?m'est (?:impossible|pas possible)\b|\bje suis (?:dans l'incapacité|incapable)\b",
    ),
    "Spanish": (
        r"\bno (?:me |te |le |lo |la )*(?:puedo|podré|podemos|podría|debo|voy a|quiero|estoy (?:autorizad"
        r"|dispuest|en (?:condiciones|posición))|es posible (?:ayudar|proporcionar|que))",
        r"\b(?:debo|tengo que|quiero) (?:rechazar|negarme|declinar)\b|\bme (?:niego|es imposible|veo "
        r"obligad[oa] a)\b|\brechazo\b",
        r"\bsoy incapaz\b|\bno (?:me )?(?:es|está) (?:posible|permitido)\b",
    ),
    "Italian": (
        r"\bnon (?:mi |ti |le |vi |lo |la )*(?:posso|possiamo|potrò|potrei|devo|voglio|intendo|sono (?:in grado"
        r"|autorizzat|dispost)|è possibile|mi è (?:possibile|permesso|consentito))",
        r"\b(?:devo|voglio|sono costretto a) (?:rifiutar|declinar)|\bmi rifiuto\b|\brifiuto\b",
    ),
    "Portuguese": (
        r"\bn[ãa]o (?:me |te |lhe |o |a )*(?:posso|podemos|poderei|poderia|consigo|devo|vou|quero|estou "
        r"(?:autorizad|dispost|em condições|apt)|sou capaz|(?:me )?é (?:possível|permitido))",
        r"\b(?:devo|tenho que|preciso|quero) (?:recusar|declinar)\b|\bme recuso\b|\brecuso-me\b",
    ),
    "Dutch": (
        r"\bik (?:kan|mag|zal|wil|ben|moet|ga)\b(?: \w+){0,8}? \b(?:niet|geen|weigeren|afwijzen)\b",
        r"\b(?:kan|mag|zal|wil|ben|moet|ga) ik\b(?: \w+){0,8}? \b(?:niet|geen|weigeren|afwijzen)\b",
        r"\bik weiger\b|\bdat (?:is|gaat) (?:helaas )?niet(?: mogelijk)?\b",
    ),
    "Scandinavian": (
        r"\b(?:jag|jeg) (?:kan|får|vill|vil|tänker|må|kommer|skal|ska)\b(?: \w+){0,4}? (?:inte|ikke)\b",
        r"\b(?:kan|får|vill|vil|må) (?:jag|jeg)\b(?: \w+){0,4}? (?:inte|ikke)\b",
        r"\b(?:jag|jeg) (?:vägrar|nekter|nægter|måste (?:avböja|neka)|må (?:avslå|avstå|afslå))",
    ),
    "Polish": (
        r"\bnie (?:mogę|możemy|będę|chcę|jestem w stanie|zamierzam|wolno mi|mam (?:możliwości|prawa))",
        r"\b(?:muszę|chcę) (?:odmówić|odrzucić)|\bodmawiam\b",
    ),
    "Russian": (
        r"\bя (?:\w+ )?не (?:\w+ )?(?:могу|можем|буду|смогу|имею|стану|хочу|вправе|готов|способ|в состоянии)",
        r"\bне (?:могу|смогу|буду) (?:\w+ )?(?:помо|предостав|ответ|дать|сказать|выполн|рассказ|сдела|поддерж|обсужд)",
        r"\b(?:вынужден\w*|должен|должна) отказать|\bя отказываюсь\b",
    ),
    "Turkish": (r"\b(?:yardımcı olam|yardım edem|sağlayam|verem|yapam|paylaşam|cevaplayam|yanıtlayam|sunam)\w*",),
    "Vietnamese and Indonesian": (
        r"\b(?:tôi|mình) (?:\w+ )?(?:không thể|không được phép|từ chối)",
        r"\b(?:saya|aku|kami) (?:\w+ )?(?:tidak (?:bisa|dapat|boleh|mampu|akan)|menolak|nggak bisa|tak (?:bisa|dapat))",
    ),
    "Arabic and Hindi": (
        r"(?:\bلا (?:أستطيع|يمكنني|أقدر|يسعني|نستطيع)|\bلن (?:أستطيع|أتمكن|أقوم|أقدم)|\bأرفض|\bلست قادر|\bيتعذر عل)",
        r"(?:मैं|हम)[^।]{0,80}(?:नहीं (?:कर|दे|बता|सक)|असमर्थ|मना कर)",
    ),
    "Chinese": (
        r"(?:我|本人|我们|我們)[^，。,.]{0,12}?(?:不能|无法|無法|不会|不會|不可以|不愿|不願|不便|没办法|沒辦法|没法|拒绝|拒絕|不方便|不打算|不得不拒)",
        r"^\W*(?:很|非常|十分|实在|實在|真的|但|但是|恕我?)*(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)?\W*(?:恕|这个?|這個?|此|该|您的"
        r"|你的)?[^，。,.]{0,10}?(?:不能|无法|無法|难以|難以|不便)(?:提供|帮|幫|回答|满足|滿足|协助|協助|给|給|告诉|告訴|完成|执行|執行|讨论|討論|透露|生成|继续|繼續)",
        r"恕(?:我)?(?:难|難)?(?:从命|從命|不能|无法|不便)",
    ),
    "Japanese": (
        r"(?:お|ご)?(?:手伝い|答え|応え|教え|教示|提供|案内|協力|対応|回答|説明|支援|サポート|実行|助け|伝え|話し|渡し|共有|作成|生成|力に|引き受け)(?:する|して|を|は|が|に"
        r"|も|することは|することが|なること|なる|ことは|すること)*(?:でき(?:ません|ない|かね)|いたしかね|しかね|致しかね|なれません|られません|いたしません|しません|差し上げられ|お断り)",
        r"(?:できません|できかねます|いたしかねます|致しかねます|しかねます|応じられません|お断り(?:し|いたし|させて)|遠慮させて|控えさせて|差し控え|お受けでき|致しません)",
    ),
    "Korean": (
        r"(?:도와|도움을?|제공|답변|답|알려|말씀|드릴|응|지원|수행|설명|공유|할|해 ?줄|해 ?드릴|줄|협조|작성)"
        r"[^.]{0,14}?(?:수(?:는|가)? ?(?:없|업)|드리지 ?못|어렵습니다|어려워요|불가|못 ?(?:합|해|하))",
        r"(?:거절|거부|사양)(?:하겠|합니다|해야|할게)",
    ),
    "Thai": (
        r"(?:ฉัน|ผม|ดิฉัน|เรา)?(?:ไม่สามารถ|ไม่อาจ|ช่วย[^ ]{0,20}ไม่ได้|ให้[^ ]{0,20}ไม่ได้|ทำ[^ ]{0,20}ไม่ได้"
        r"|บอก[^ ]{0,20}ไม่ได้|ตอบ[^ ]{0,20}ไม่ได้|ขอปฏิเสธ|ขอไม่)",
    ),
}  # fmt: skip

# Idioms of these languages that use such words and answer.
NEVERTHELESS = (
    r"\b(?:kann|könnte) (?:ich )?(?:es )?(?:\w+ )?(?:kaum (?:er)?warten|nicht (?:erwarten|genug|umhin|klagen"
    r"|oft genug|leugnen|nur|glauben))\b",
    r"\bich kann (?:es |ihnen |dir )?(?:\w+ )?(?:nicht (?:erwarten|genug|umhin|klagen|leugnen|glauben|nur)"
    r"|nur)\b|\bkein(?:e)? (?:problem|sorge|ursache)\b",
    r"\baber (?:so (?:geht|klappt|gelingt|funktioniert)|hier ist (?:eine|die) anleitung)\b",
    r"\bje ne peux (?:que|pas (?:m'empêcher|attendre|nier|assez))|\bje n'y (?:suis|peux)|\bpas de (?:problème|souci)",
    r"\bno (?:puedo|podría) (?:esperar|evitar|dejar de|estar más|negar|creer|menos|quejarme)|\bno hay problema"
    r"|\bno solo\b",
    r"\bnon (?:vedo l'ora|posso (?:che|fare a meno|aspettare|negare|lamentarmi|non))|\bnessun problema|\bnon solo\b",
    r"\bn[ãa]o (?:posso (?:deixar|esperar|negar|reclamar)|consigo (?:esperar|parar)|vou (?:mentir|esconder))"
    r"|\bsem problema|\bn[ãa]o s[óo]\b",
    r"\bik kan (?:niet wachten|het niet laten|niet genoeg|niet klagen)|\bgeen probleem",
    r"\bнe могу (?:дождаться|не )|\bне могу (?:дождаться|не |нарадоваться)"
    r"|\bне буду (?:тянуть|томить|скрывать|спорить|врать|медлить|лукавить|ходить вокруг)"
    r"|\bnie mogę się doczekać|\b(?:jag"
    r"|jeg) kan (?:inte|ikke) (?:vänta|vente)",
    r"(?:我)?(?:等不及|迫不及待|不能不|不得不(?!拒)|不会(?:忘|让|讓)|不能再(?:同意|高兴|高興))|没问题|沒問題|不能同意更多"
    r"|(?:无法|無法|不能|难以|難以)想[象像]|不会忘记|不會忘記",
    r"待ちきれ|せずにはいられ|問題ありません|間違いありません|言うまでもありません"
    r"|(?:ないと|なければ|なしでは|なしには)[^。]*(?:できません|られません)",
    r"(?:기다릴 수 ?없|말할 수 ?없이|참을 수 ?없|하지 않을 수 ?없|문제 ?없)",
    r"(?:ไม่มีปัญหา|รอไม่ไหว|อดใจ)",
)  # fmt: skip
