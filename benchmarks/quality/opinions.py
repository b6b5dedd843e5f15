"""Opinion words and templates; no entry is on two sides."""

from __future__ import annotations

from benchmarks.quality.sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, lines_of, listed

PRAISE: Sided = {
    TRAIN: listed("""
        good wonderful amazing superb perfect outstanding charming marvelous
        impressive beautiful awesome fabulous friendly happy pleased reliable tasty
        comfortable quick kind generous smart stunning exceptional smooth joyful
        gorgeous inspiring fun useful worthwhile best neat admirable warm solid
        effective fair professional attentive glorious divine delectable graceful tidy
        dazzling enchanting energetic exquisite flavorful fragrant genuine golden
        grateful harmonious heavenly immaculate incredible insightful inventive juicy
        legendary lively loyal luxurious majestic memorable miraculous nourishing
        peaceful playful plentiful polished premium promising quaint relaxing
        respectful rewarding romantic satisfying scrumptious sensational simple
        skilled sleek soothing sparkling spectacular stellar succulent supportive
        sweet tasteful thankful thoughtful tranquil trustworthy uplifting vibrant
        welcoming wholesome witty yummy"""),
    DEVELOPMENT: listed("""
        great excellent fantastic lovely delightful brilliant pleasant terrific
        enjoyable splendid helpful delicious polite elegant remarkable flawless
        cheerful magnificent refreshing exciting fascinating valuable superior
        courteous spotless cozy radiant sublime engaging gracious hospitable
        impeccable joyous phenomenal pleasing serene spacious stylish thrilling
        unforgettable"""),
    HELD_OUT: listed("""
        satisfied glad clever recommended favorite nice durable sturdy honest prompt
        dreamy dynamic ecstatic effortless enthusiastic fruitful gifted grand hearty
        heroic ideal innovative intelligent intuitive likable lovable luminous
        masterful organized powerful precious priceless responsive savory seamless
        skillful sincere spirited supreme swift thorough thriving timely top-notch
        trusted unbeatable upbeat vivid wise wondrous"""),
}
BLAME: Sided = {
    TRAIN: listed("""
        bad awful horrible poor disgusting broken worthless slow ugly dull frustrating
        painful sad upset dissatisfied unreliable bland noisy filthy pathetic stupid
        lazy defective flimsy overpriced worst shabby unfair late hostile harsh sour
        spoiled cramped depressing tiresome clumsy weak leaky crooked appalling
        unacceptable sloppy unhelpful ghastly revolting grim putrid abysmal aggressive
        arrogant banal bleak bothersome buggy chaotic clueless corrupt creepy crude
        dangerous deceitful deplorable despicable dire discouraging dismal
        disrespectful distressing dodgy drab dreary embarrassing erratic exhausting
        feeble flawed foul frightening fussy gross grumpy harmful heartless hopeless
        horrid icky impatient incompetent inconvenient ineffective insulting
        irritating lame lifeless malicious messy misleading monotonous mushy neglected
        obnoxious outdated overcrowded pitiful questionable repulsive rotten scary
        selfish shaky sluggish stained stressful tacky tasteless tragic unbearable
        unsafe untidy vile"""),
    DEVELOPMENT: listed("""
        terrible dreadful disappointing nasty useless rude dirty boring annoying
        unpleasant miserable angry furious stale uncomfortable lousy ridiculous
        careless faulty inferior mediocre dishonest cruel bitter smelly gloomy tedious
        confusing disastrous shameful inadequate unfriendly wretched hideous atrocious
        disgraceful horrendous intolerable offensive outrageous regrettable"""),
    HELD_OUT: listed("""
        unhappy damaged unprofessional awkward rusty soggy abusive alarming absurd
        brutal childish costly crappy cynical deficient desperate disagreeable
        disgusted disorganized dissatisfying distasteful disturbing doubtful drafty
        dubious dumb evil excessive fake frustrated fruitless glitchy hateful
        humiliating ignorant impolite inaccurate incomplete inconsiderate inefficient
        joyless loathsome mindless moldy negligent odious overcooked petty pointless
        pretentious ruined senseless sickening slimy spiteful stingy stuffy suspicious
        toxic troublesome unclean uninspired unjust unstable unusable vicious vulgar
        wasteful wicked wrecked"""),
}
# About a campsite (training), a ferry (development), a theatre (held out); three words of one
# sentiment each.
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
    DEVELOPMENT: lines_of("""
        Passenger log {no}: {thing} rated {a}, {b} plus {c}
        Deck {no} reports back on {thing} with {a} plus {b} plus {c}
        Asked about {thing}, cabin {no} answered: {b} as well as {a} as well as {c}
        Crossing {no}. {a} {thing}. {b} {thing2}. {c} all over.
        My ticket {no} bought me {a} {thing} together with {b}, {c} {thing2}
        Words used by cabin {no} for {thing}: {a}; {b}; {c}
        Both {a} plus {b} describe {thing} aboard, {c} too
        Radio message: {thing} {a}, stop, {thing2} {b}, stop, {c}
        """),
    HELD_OUT: lines_of("""
        Visitor card {no} on the {thing}: {a}, moreover {b}, moreover {c}
        Seat {no} whispers: {thing} {a}, {thing2} {b}, everything {c}
        After act two guest {no} noted {a}, then {b}, then {c} for {thing}
        {thing} gets three adjectives from box {no}: {a}, {b}, {c}
        Critic no. {no} sums up {thing} like so: {a}. Further: {b}. Finally: {c}.
        A {a} {thing} beside a {b} {thing2}; box {no} adds {c}
        {no} people called our {thing} {a}, others {b}, the rest {c}
        Press clipping {no} ... {a} {thing} ... {b} {thing2} ... {c}
        Subscriber {no} wants us to print: {a} {thing}, {b} {thing2}, {c} altogether
        Heard at exit {no}: {a}? yes, {a}, even {b}, even {c}, that {thing}
        With {thing} {a} along with {thing2} {b}, evening {no} felt {c}
        Voucher {no}. Impression of {thing}: {a} / {b} / {c}
        """),
}
THINGS: Sided = {
    TRAIN: listed("""
        campsite firepit tents showers pitches hammock trail kiosk playground laundry
        bonfire canoes caravans warden picnic woodshed"""),
    DEVELOPMENT: listed("ferry lifeboat galley anchor porthole gangway captain bunks sundeck"),
    HELD_OUT: listed("""
        theatre balcony ushers cloakroom foyer orchestra intermission curtain stalls
        costumes scenery tickets"""),
}
