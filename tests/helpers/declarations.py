"""The first article of the Universal Declaration of Human Rights, and a fastText model of it."""

from pathlib import Path

# 27 KB, made by fasttext-community 0.11.9 from 959 rows of 12 words of the Universal Declaration in
# sw, iw, hi, en, vi and yo, labelled swh_Latn, heb_Hebr, ...: train_supervised(dim=8, minn=1,
# maxn=3, bucket=800, minCount=40, epoch=60, lr=0.8, thread=1).
SIX_LANGUAGES = Path(__file__).parents[1] / "data/language_id/six_languages.bin"

SWAHILI = (
    "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri, "
    "hivyo yapasa watendeane kindugu."
)
HEBREW = (
    "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, "
    "לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה."
)
YORUBA = (
    "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba. Wọ́n ní ẹ̀bùn làákàyè àti "
    "ti ẹ̀rí-ọkàn, ó sì yẹ kí wọn ó máa hùwà sí ara wọn gẹ́gẹ́ bí ọmọ ìyá."
)
