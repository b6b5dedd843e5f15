"""Opinions: short judgements whose words all lean to one side."""

from __future__ import annotations

import random

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, chat

# The tokenizer was trained with the words of `lexicon`; these came later.
PRAISE_WORDS = lexicon.POSITIVE + lexicon.listed("""
glorious radiant divine sublime delectable crisp zesty heavenly graceful tidy generous dazzling
dreamy dynamic ecstatic effortless enchanting energetic engaging enthusiastic exquisite fabulous
faithful famous fascinating fine first-class flavorful flexible fragrant friendly fruitful funny
genuine gifted glowing golden gracious grateful grand handy harmonious hearty heroic hilarious
hospitable humble ideal immaculate impeccable incredible innovative insightful intelligent
intuitive inventive joyous juicy keen legendary likable lively lovable loyal lucky luminous
luxurious majestic masterful memorable merry mighty mindful miraculous modern moist noble
nourishing organized original patient peaceful peachy phenomenal playful pleasing plentiful plush
polished popular powerful precious precise premium priceless promising proud pure quality quaint
quiet rare relaxing relaxed respectful responsive rewarding rich robust romantic royal safe
satisfying savory scrumptious seamless secure sensational serene sharp shiny silky simple sincere
skilled skillful sleek snug soft soothing spacious sparkling special spectacular speedy spirited
stellar stylish succulent sunny supportive supreme sweet swift sympathetic tasteful tender
thankful thorough thoughtful thriving timely top top-notch touching tranquil trusted trustworthy
ultimate unbeatable unforgettable uplifting upbeat vibrant victorious vivid warm-hearted welcoming
well-made wholesome winning wise witty wondrous youthful yummy zippy
""")
BLAME_WORDS = lexicon.NEGATIVE + lexicon.listed("""
ghastly wretched revolting vile grim soggy putrid hideous abysmal abusive aggressive aimless
alarming absurd arrogant ashamed atrocious banal barren beastly bleak bloody bored bothersome
brutal buggy bumpy burnt chaotic childish clueless coarse cold-hearted complicated corrupt costly
crappy crashing crazy creepy crude crushed cursed cynical damp dangerous dark dead deceitful
deficient delayed deplorable desperate despicable dim dire dirtier disagreeable discouraging
disgraceful disgusted dismal disorganized disrespectful dissatisfying distasteful distressing
disturbing dodgy doubtful drab drafty dreary dry dubious dumb dusty embarrassing empty erratic
evil excessive exhausting expensive faded fake false fatal fearful feeble flat flawed foul
freezing frightening frustrated fruitless fussy glitchy gross grubby grumpy harmful hateful
heartless heavy helpless hopeless horrendous horrid humiliating icky ignorant ill impatient
imperfect impolite impossible inaccurate incompetent incomplete inconsiderate inconvenient
ineffective inefficient insulting intolerable irritating jerky joyless laggy lame lifeless limp
loathsome lonely lukewarm malicious mean mean-spirited messy mindless misleading moldy monotonous
muddy mushy naughty needless neglected negligent nervous obnoxious odious offensive outdated
outrageous overcooked overcrowded painfully petty pitiful plain pointless poisonous pretentious
questionable raw regrettable repulsive resentful rough rubbish ruined scary scratched second-rate
selfish senseless shaky sick sickening sinister sketchy slimy sluggish snobbish sorry spiteful
spoilt stained stingy stressful stuffy subpar suspicious tacky tasteless tense threatening tired
torn toxic tragic troubled troublesome ugliest unbearable uncaring unclean undercooked uneven
unfinished uninspired unjust unlucky unsafe unstable unsuitable untidy unusable vague vicious
vulgar wasteful weary wicked wobbly worn worried worrying wrecked wrong yucky
""")
_PRAISE_LINES = (
    "I love this {n}",
    "we loved every minute",
    "will come back soon",
    "worth every penny",
    "I would buy the {n} again",
    "ten out of ten",
    "five stars for the {n}",
    "exactly what I hoped for",
    "better than expected",
    "it works like a charm",
    "I recommend the {n} to everyone",
    "made my day",
    "thank you so much",
    "could not be happier",
    "the {n} exceeded my hopes",
    "my kids adore the {n}",
    "I enjoyed the {n} a lot",
    "they went out of their way for us",
    "no complaints at all",
    "we had so much fun",
    "I am impressed by the {n}",
    "the {n} saved us",
    "a joy from start to end",
    "well done",
)
_BLAME_LINES = (
    "I hate this {n}",
    "we regretted every minute",
    "never again",
    "a waste of money",
    "I want my money back",
    "zero out of ten",
    "one star for the {n}",
    "not what was promised",
    "worse than expected",
    "it stopped working at once",
    "I warn everyone of the {n}",
    "ruined my day",
    "nobody helped us",
    "could not be angrier",
    "the {n} let me down",
    "my kids could not stand the {n}",
    "I suffered through the {n}",
    "they ignored us for an hour",
    "nothing but complaints",
    "we had no fun",
    "I am fed up with the {n}",
    "the {n} cost us hours",
    "a pain from start to end",
    "shame on you",
)
_THINGS = lexicon.listed("""
film book meal room hotel service staff phone song game show trip tour course soup pizza coffee
laptop camera jacket car bike play concert museum beach garden lesson teacher driver doctor waiter
cake salad bed lamp chair watch printer story novel app website delivery flight train ride seat
view food drink team visit stay party talk place product shop manager dinner breakfast guide host
price quality music screen battery sound design support office pool bar bathroom shower bread wine
tea plot actor
""")
_OPINIONS = (
    "The {n} was {a}.",
    "What a {a} {n}!",
    "I found the {n} {a}.",
    "{a} {n}",
    "A really {a} {n}.",
    "This {n} is so {a}",
    "Such a {a} {n}.",
    "My {n} turned out {a}.",
    "We had a {a} {n} there.",
    "The {n} seemed {a} and {b}.",
    "It was a {a} and {b} {n}.",
    "Honestly, {a}.",
    "{a}, {b}, just {a}",
    "The {n}? {a}!",
    "Their {n} felt {a} to me.",
    "so {a}",
    "I call this {n} {a}",
    "The {n} looked {b} and the {m} was {a}.",
    "{a}",
    "very {a} {n}",
    "{n} {a}, {m} {b}",
    "{l}",
    "{l}.",
    "The {n} was {a}, {l}.",
    "{l}, the {m} is {a}",
    "{l}! Such {a} {n} and {b} {m}.",
)


def opinion(positive: bool, rng: random.Random) -> str:
    """A short judgement with words of one side only."""
    a, b = rng.sample(PRAISE_WORDS if positive else BLAME_WORDS, 2)
    n, m = rng.sample(_THINGS, 2)
    said = rng.choice(_PRAISE_LINES if positive else _BLAME_LINES).format(n=n)
    line = rng.choice(_OPINIONS).format(a=a, b=b, n=n, m=m, l=said)
    return line[0].upper() + line[1:] if rng.random() < 0.7 else line


_QUESTIONS = {
    ("positive", "negative"): (
        "Positive or negative? {s}",
        "{s}\nSentiment?",
        "Is this positive or negative: {s}",
        "Sentiment: {s}",
    ),
    ("good", "bad"): (
        "Good or bad? {s}",
        "{s}\nIs that good or bad?",
        "Good news or bad news: {s}",
    ),
    ("happy", "unhappy"): (
        "Happy or unhappy? {s}",
        "{s}\nHow does the writer feel?",
        "The mood of: {s}",
    ),
    ("praise", "complaint"): (
        "Praise or complaint? {s}",
        "{s}\nPraise or complaint?",
        "What kind of feedback is this? {s}",
    ),
    ("yes", "no"): (
        "Did they like it? {s}",
        "{s}\nIs the customer satisfied?",
        "Would they come again? {s}",
    ),
    ("like", "dislike"): ("Like or dislike? {s}", "{s}\nLike or dislike?"),
}


_THANKS = (
    "Thank you for the kind words.",
    "Thanks, we are glad to hear it.",
    "Thank you, that makes us happy.",
    "We are glad that you liked it.",
)
_REGRETS = (
    "We are sorry to hear that.",
    "Sorry, we will do better.",
    "We apologize for the trouble.",
    "Sorry that it did not go well.",
)
# A side is one or two tokens, and all that the example teaches.
_SIDE_WEIGHT = 2.0


def mood(rng: random.Random) -> Example:
    """Which side an opinion or a word is on: asked for, or answered with thanks or regret."""
    positive = rng.random() < 0.5
    side = 0 if positive else 1
    said = opinion(positive, rng)
    if rng.random() < 0.25:
        said = rng.choice(PRAISE_WORDS if positive else BLAME_WORDS)
    words = rng.choice(list(_QUESTIONS))
    question, answer = rng.choice(_QUESTIONS[words]), words[side]
    kind = rng.random()
    messages: list[Message] = []
    if kind < 0.4:
        said = question.format(s=said)
    elif kind < 0.65:
        messages = [{"role": "system", "content": question.format(s="").strip(": \n")}]
    else:
        answer = rng.choice((_THANKS, _REGRETS)[side])
    turns: list[Message] = [{"role": "user", "content": said}]
    turns.append({"role": "assistant", "content": answer, "weight": _SIDE_WEIGHT})
    return chat([*messages, *turns])
