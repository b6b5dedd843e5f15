"""Opinion words and templates of quality_data.py: no entry stands on both sides."""

from __future__ import annotations

from quality_words import HELD_OUT, TRAIN, Sided, lines_of, listed

PRAISE: Sided = {
    TRAIN: listed("""
        good wonderful amazing superb perfect outstanding charming marvelous impressive beautiful
        awesome fabulous friendly happy pleased reliable tasty comfortable quick kind generous
        smart stunning exceptional smooth joyful gorgeous inspiring fun useful worthwhile best neat
        admirable warm solid effective fair professional attentive glorious divine delectable
        graceful tidy dazzling enchanting energetic exquisite flavorful fragrant genuine golden
        grateful harmonious heavenly immaculate incredible insightful inventive juicy legendary
        lively loyal luxurious majestic memorable miraculous nourishing peaceful playful plentiful
        polished premium promising quaint relaxing respectful rewarding romantic satisfying
        scrumptious sensational simple skilled sleek soothing sparkling spectacular stellar
        succulent supportive sweet tasteful thankful thoughtful tranquil trustworthy uplifting
        vibrant welcoming wholesome witty yummy"""),
    HELD_OUT: listed("""
        great excellent fantastic lovely delightful brilliant pleasant terrific enjoyable splendid
        helpful delicious polite elegant remarkable flawless cheerful magnificent refreshing
        exciting fascinating valuable superior courteous spotless cozy radiant sublime engaging
        gracious hospitable impeccable joyous phenomenal pleasing serene spacious stylish
        thrilling unforgettable"""),
}
BLAME: Sided = {
    TRAIN: listed("""
        bad awful horrible poor disgusting broken worthless slow ugly dull frustrating painful sad
        upset dissatisfied unreliable bland noisy filthy pathetic stupid lazy defective flimsy
        overpriced worst shabby unfair late hostile harsh sour spoiled cramped depressing
        tiresome clumsy weak leaky crooked appalling unacceptable sloppy unhelpful ghastly
        revolting grim putrid abysmal aggressive arrogant banal bleak bothersome buggy chaotic
        clueless corrupt creepy crude dangerous deceitful deplorable despicable dire
        discouraging dismal disrespectful distressing dodgy drab dreary embarrassing erratic
        exhausting feeble flawed foul frightening fussy gross grumpy harmful heartless hopeless
        horrid icky impatient incompetent inconvenient ineffective insulting irritating lame
        lifeless malicious messy misleading monotonous mushy neglected obnoxious outdated
        overcrowded pitiful questionable repulsive rotten scary selfish shaky sluggish stained
        stressful tacky tasteless tragic unbearable unsafe untidy vile"""),
    HELD_OUT: listed("""
        terrible dreadful disappointing nasty useless rude dirty boring annoying unpleasant
        miserable angry furious stale uncomfortable lousy ridiculous careless faulty inferior
        mediocre dishonest cruel bitter smelly gloomy tedious confusing disastrous shameful
        inadequate unfriendly wretched hideous atrocious disgraceful horrendous intolerable
        offensive outrageous regrettable"""),
}
# Opinions on a campsite, held out on a ferry: three words of one side each.
OPINIONS: Sided = {
    TRAIN: lines_of("""
        Card {no}, {thing}: {a}. Second line: {b}, {c}.
        Camper {no} wrote "{a}" under {thing} and "{b}, {c}" under {thing2}
        {thing}, {thing2} = {a}, {b}, {c}
        #{no} / {thing} / {a} / {b} / {c}
        Guest book, page {no}: {a} {thing}, {b} {thing2}, {c}
        Pitch {no} left us this: how {a}, how {b}, how {c}.
        In one word? {a}. In two? {b}, {c}. ({thing})
        {thing} -> {a}; {thing2} -> {b} & {c}
        Tent row {no} votes {a} for {thing} and {b}, {c} for {thing2}.
        A {a} morning, a {b} noon, a {c} evening, that was {thing} {no}
        Somewhere between {a}, {b} and {c}, says pitch {no} of our {thing}
        Note to the warden: {thing} {a}; also {b}; also {c}
        Whoever runs {thing} {no} must know how {a}, {b} and {c} that is
        I write {a}, I mean {b} and {c}: {thing}
        {a}! {b}! {c}! ({thing}, row {no})
        Never saw such {a} {thing}, such {b}, {c} {thing2}
        Summer survey {no} | {thing} | {a}, {b} and {c}
        Not one of us expected {thing} this {a}, this {b}, this {c}
        {thing} {no} again {a}, {thing2} likewise {b}, {c}
        You ask of {thing}: {a}. You ask of {thing2}: {b} and {c}.
        """),
    HELD_OUT: lines_of("""
        Passenger log {no}: {thing} rated {a}, {b} plus {c}
        Deck {no} reports back on {thing} with {a} plus {b} plus {c}
        Asked about {thing}, cabin {no} answered: {b} as well as {a} as well as {c}
        Crossing {no}. {a} {thing}. {b} {thing2}. {c} all over.
        My ticket {no} bought me {a} {thing} together with {b}, {c} {thing2}
        Words used by cabin {no} for {thing}: {a}; {b}; {c}
        Both {a} plus {b} describe {thing} aboard, {c} too
        Radio message: {thing} {a}, stop, {thing2} {b}, stop, {c}
        """),
}
THINGS: Sided = {
    TRAIN: listed("""
        campsite firepit tents showers pitches hammock trail kiosk playground laundry bonfire
        canoes caravans warden picnic woodshed"""),
    HELD_OUT: listed("ferry lifeboat galley anchor porthole gangway captain bunks sundeck"),
}
