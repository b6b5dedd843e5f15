"""Word lists that the generators share."""

from __future__ import annotations


def listed(text: str) -> list[str]:
    """The words of a text, in order."""
    return text.split()


EVERYDAY = listed("""
account address agent airport amount answer app apple application appointment approve arrive
arrived arrival ask automatic available back bag balance bank beach bed bill birthday block
blocked blue book booking bottle box branch bread break broken brother browser building bus
business button buy cable cake calendar call camera cancel canceled cancelled car card careful
case cash chair change charge charged chat cheap check cheque child choose city claim class clean
click close closed clothes cloud coat code coffee cold color company complaint computer confirm
confirmed connect contact contactless contract cook cost country country coupon courier create
credit crypto currency customer daily damaged data date day debit decline declined delay delayed
delete deliver delivered delivery deposit desk detail details device different dinner direct
discount doctor document dollar door double download driver duplicate early edit electric email
employee empty enable energy enter error euro event exchange expect expired expire explain express
extra fail failed failing fall family fast fee fees file find finish fix flight floor flower food
forget forgot forgotten form free friend fuel full funds garden gate get gift give glass goods
green group hair hall hand happy health heavy help history holiday home hospital hotel hour house
identity incorrect information insurance interest internet invoice issue item jacket job key
keyboard kitchen label language laptop large late laundry lawyer leave letter light limit link
list loan local location lock log login lost lunch machine mail manager map market meal medicine
meeting member menu message milk minute missing mistake mobile money month mother move music name
need network new news night notice notification number offer office old online open option order
paid package page paper parcel park part party pass passcode password pay payment payments pen
pending people permission person pharmacy phone photo picture piece pin place plan plane plant
plate please pound price print printer problem process product profile project proof public
purchase quality question queue quick quote rate read receipt receive received recipient record
red refund refused register remove rent repair replace replacement reply report request
reservation reset restaurant return reverted review ring road room route safe salary sale sales
salt school screen search seat security sell send sent service settings shift ship shipping shirt
shoes shop short show sick sign signature size sleep slow small sorry source speak speed staff
stamp start statement station status stay stolen stop storage store street student subscription
sugar suitcase sunny supplier support suspend swallowed table tax taxi tea teacher team technical
telephone terminal test text thank thanks ticket time today tomorrow tonight top topped train
transaction transactions transfer transfers transferred travel tree trip truck try type unable
understand unknown unlock update upgrade upload use user username vacation van verify verified
verification version video visit visa voucher wait waiting wallet want warehouse warning warranty
washing watch water weather website week weekend welcome window winter withdraw withdrawal
withdrawals word work worker world wrong year yellow yesterday young able about accept accepted
access after again age ago allow allowed already also always another any anything atm away bad
because become been before being best better between both bring bought came can cannot choice come
could did does doing done during each else enough even ever every everything far few first follow
following from gave getting giving go goes going gone good got great had happen happened happens
hard has have having hear here how however if into isn just keep kind know last later learn less
let like little live long longer look looking made make makes making many may maybe me mean might
more most much must my myself near never next nobody none nothing now off often only other our out
over own possible put quite ran rather real really right run said same saw say says see seem seems
seen set several should since some someone something sometimes soon still such sure take taken
taking tell than that their them then there these they thing things think this those though
through together told too took tried trying turn twice under until upon used using usually very
want wants was way well went were what when where whether which while who whole whose why will
wish with within without won would yes yet you your yours
""")

# The list above up to its function words: mostly nouns.
THINGS = [w for w in EVERYDAY[: EVERYDAY.index("able")] if len(w) > 2]

POSITIVE = listed("""
good great excellent wonderful amazing fantastic superb lovely delightful perfect brilliant
outstanding pleasant charming terrific marvelous impressive enjoyable beautiful splendid awesome
fabulous friendly helpful happy satisfied pleased glad thrilled reliable tasty delicious fresh
comfortable clean quick efficient kind polite generous clever smart elegant stunning remarkable
exceptional flawless smooth cheerful joyful magnificent gorgeous refreshing inspiring exciting fun
fascinating useful valuable worthwhile recommended favorite best superior neat nice admirable
gentle warm bright solid sturdy durable effective easy fair honest professional prompt courteous
attentive spotless cozy
""")
NEGATIVE = listed("""
bad terrible awful horrible dreadful poor disappointing disgusting nasty broken useless worthless
rude slow dirty ugly boring dull annoying frustrating unpleasant painful miserable sad angry upset
unhappy dissatisfied furious unreliable stale bland cold noisy uncomfortable filthy lousy pathetic
ridiculous stupid careless lazy faulty defective damaged flimsy cheap overpriced inferior worst
mediocre shabby dishonest unfair unprofessional late hostile cruel harsh bitter sour rotten
spoiled smelly cramped gloomy depressing tedious tiresome confusing clumsy awkward weak fragile
leaky rusty crooked disastrous appalling shameful unacceptable inadequate sloppy unfriendly
unhelpful
""")

# The tokenizer was trained with the words above; these came later.
PRAISE = POSITIVE + listed("""
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
BLAME = NEGATIVE + listed("""
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
