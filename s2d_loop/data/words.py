"""Words and names of this project's own, written for it: no outside list was used.

`last_letters` draws from the words, `coin_flip` from the names.
"""

_WORDS = """
acorn almond anchor ankle antler apple apricot apron arch arrow artist ash atlas attic aunt autumn avenue axle
baby badge badger bagel baker balcony ball ballad balloon bamboo banana band banjo bank banner barber bark barley barn
barrel basil basin basket bat bath bay beach bead beam bean bear beard beaver bed bee beetle beggar bell belt bench berry
bicycle birch bird biscuit blanket blossom boat bolt bone bonnet book boot border bottle boulder bowl box branch brass
bread breeze brick bride bridge broom brother brush bubble bucket buckle buffalo builder bull bunch burger bus bush
butcher butter button
cabbage cabin cable cactus cage cake calf camel camera camp canal canary candle candy cannon canoe canvas canyon cape car
caramel card carpet carriage carrot cart carton castle cat cattle cave cedar ceiling celery cellar cement chain chair
chalk chapel cheese cherry chess chest chicken child chimney chin chip choir church cider cinema circle circus city clam
class clay cliff cloak clock cloth cloud clover clown club coach coal coast coat cobweb cocoa coconut coffee coin collar
color comb comet compass concert cook copper coral cord cork corn corner cottage cotton couch cousin cow cowboy crab
cradle crane crater crayon cream creek cricket crocus crow crowd crown crumb crystal cube cucumber cup curb curtain
cushion cymbal
daffodil dairy daisy dance daughter dawn deck deer denim dentist desert desk dessert diamond diary dice dinner dish
ditch diver dock doctor dog doll dolphin dome donkey door dough dove dragon drawer dream dress drill drum duck dune dusk
dust
eagle ear earth easel east echo eel egg eggplant elbow elephant elm ember emerald engine envelope evening eye
fabric face factory falcon family fan farm farmer father feather fence fern ferry festival fiddle field fig film finch
finger fir fire fish fist flag flame flannel flask fleet flock flood floor flour flower flute fog folder food foot forest
forge fork fort fossil fountain fox frame freckle friend frog frost fruit fudge funnel fur furnace
gallery game garage garden garlic garnet gate gazelle gecko geese ghost giant giraffe girl glacier glass globe glove glue
goat gold goose gorilla gown grain granite grape grass gravel gravy grill grocer grove guest guitar gull gutter gymnast
hail hair hall hamlet hammer hammock hamster hand handle harbor hare harp harvest hat hatch hawk hay hazel heart hearth
heather hedge heel helmet hen herb herd hero heron highway hill hinge hive hockey hollow honey hood hoof hook horizon horn
hornet horse hose hotel hour house hunter hut hyena
ice icicle igloo ink inn insect iris iron island ivory ivy
jacket jaguar jam jar jasmine jaw jeans jelly jewel jigsaw joke journal judge jug juggler juice jungle juniper jury
kayak kennel kettle key kidney king kiosk kitchen kite kitten kiwi knee knife knight knot koala
label lace ladder lady lagoon lake lamb lamp lantern lark lasso laundry lava lavender lawn lawyer leaf leather ledge leg
lemon lemur lens lentil leopard letter lettuce library lid lighter lilac lily lime linen lion lip lizard llama lobster
lock locket locust lodge log loom lotus lumber lunch lung lynx
machine magnet magpie maid mail mallet mammoth mango mansion mantle maple marble march market marsh mask mason mast match
mattress mayor maze meadow meal medal melody melon member mermaid metal meteor midnight milk mill miner mint minute
mirror mist mitten moat model mole moment monk monkey month moon moose morning mosaic moss moth mother motor mountain
mouse mouth movie mud muffin mule muscle museum mushroom music mussel mustard
nail napkin neck necklace needle nephew nest net nettle newt niece night noodle noon north nose notebook novel nugget
number nurse nut nutmeg
oak oar oasis oat ocean octopus office olive onion opal opera orange orbit orchard orchid organ ostrich otter oven owl
owner ox oyster
paddle page pail paint painter palace palm pan pancake panda pansy panther paper parade parcel parent park parrot parsley
party passage pasta pastry path patio paw pea peach peacock peak peanut pear pearl pebble pecan pelican pen pencil
penguin pepper perch petal pheasant phone photo piano pickle picnic picture pie pier pigeon pillow pilot pine pineapple
pipe pirate pitcher pizza plain planet plank plant plate player plaza plum plumber pocket poem poet pole pond pony pool
poppy porch port portrait postcard potato pottery powder prairie present prince princess prism prize pudding puddle
pulley puma pump pumpkin puppet puppy purse puzzle pyramid
quail quarry quartz queen quilt quiver
rabbit raccoon radio radish raft rail rain rainbow raisin rake ram ranch raspberry raven razor recipe reed reef reindeer
relic ribbon rice riddle rider ridge rifle ring ripple river road robe robin robot rock rocket rod roof room root rope
rose ruby rudder rug ruler runner rust
saddle saffron sage sail sailor salad salmon salt sand sandal sandwich sapphire satchel satin sauce saucer sausage saw
scale scarf school scissors scooter scorpion screw scroll sea seal season seat seaweed secret seed shadow shark shawl
shed sheep shelf shell shelter shepherd sheriff shield ship shirt shoe shop shore shoulder shovel shrimp shrub sibling
sickle sign silk silver singer sink siren sister skate ski skirt skull sky sled sleeve sleigh slipper slope smile smoke
snail snake snow soap soccer sock sofa soil soldier song soup spade spark sparrow spear spider spinach spiral sponge
spoon spring spruce spur square squash squid squirrel stable stage stair stamp star starfish statue steak steam steel
stem step stew stick stone stool storm story stove strap straw stream street string student studio submarine subway
suede sugar suit summer sun sunset surgeon swallow swamp swan sweater sword sycamore syrup
table tablet tailor talon tambourine tangerine tape tapestry tar tart taxi tea teacher team teapot teeth temple tennis
tent terrace theater thimble thistle thorn thread throne thumb thunder ticket tide tiger tile timber tin toad toast
tobacco toe toffee tomato tongue tool topaz torch tortoise towel tower town toy tractor trail train tray treasure tree
trench triangle tribe trolley trombone trophy trout truck trumpet trunk tuba tulip tuna tunnel turban turkey turnip
turtle tusk twig twin typist
umbrella uncle unicorn uniform urchin urn
valley valve vampire van vanilla vase vault veil velvet vessel vest village vine vinegar viola violet violin visitor
volcano vulture
wafer wagon waist waiter wall wallet walnut walrus waltz wand wardrobe warrior wasp watch water wave wax weasel weather
weaver wedding week weed well west whale wheat wheel whisker whistle widow wife willow wind window wine wing winter wire
wizard wolf woman wood wool word world worm wreath wren wrist writer
yacht yak yard yarn year yeast yogurt yolk
zebra zephyr zigzag zipper zither
active amber ancient bitter blue bold brave brief bright broad broken brown busy calm careful charming cheerful clean
clear clever cold common cool cozy crisp curious damp dark deep delicate dim distant dry dull eager early easy empty
faint fair famous fancy fast fierce fine firm flat fluffy fond fresh friendly full funny gentle giddy glad golden grand
grateful gray great green handsome handy happy hard heavy helpful hidden high honest huge humble hungry idle jolly keen
kind large late lazy light little lively local lonely long loud lovely loyal lucky mellow merry mighty mild modern
modest narrow neat new nice noble noisy old open pale patient peaceful plump polite proud purple quick quiet rapid rare
ready rich ripe rough round royal rusty sad salty scarlet shallow sharp shiny short shy simple sleepy slim slow small
smooth soft solid sour special spicy steady steep stiff still strange strong sturdy sunny sweet swift tall tame tender
thick thin thirsty tidy tiny tired tough usual vast warm weary wet white wide wild wise wooden yellow young
arrive balance become begin believe borrow bounce build carry catch choose climb collect come count create cross dash
decide deliver describe dig discover draw drift drink drive enter explore fetch finish float fly fold follow forget
forgive gallop gather give glide greet grow guess harness help hike hold hurry imagine invent invite join jump keep knit
laugh learn leave lend lift listen live measure melt mend notice obey offer pack pause peel plow polish pour
practice prepare promise protect pull push reach read remember repair rescue rest return roam run save search send
share shout sing sleep slide speak spell spend spin stay stir swim swing tell thank think throw tickle travel trust try
visit wait walk wander whisper win wonder work
"""

_NAMES = """
abelin adelio adrin aerlin ailsa akemi aldra alenka alfonz alister almira alvino amadou amrita anders annika anselm
antje arlo arvid asher astrid aurelio avram aziza
balint barrick basko beatrix belmiro benno bertil bianka birgit bodil boris branka brenton brigid bronson bruna
caius calder calista camil carsten caspian cecil cedrik celina chandra chiara ciaran clarke clemens colby conrad cosima
cyra cyril
dagny dalia damaris danilo darby davina deepak delphin denholm desta dieter dinesh dmitri dolores domenik donal dorian
dragan drusilla dunstan
edda edmund edwina egon eileen einar elara eleni elio elske emeric emrys endre enid enzo eoin erland esme estevan
ettore eudora evander
fabian faisal farida faye felix ferenc fergus fidel finley fiona flavia florin fraser frida fritz
gaspard gavin gemma gerda gideon gilda giorgio gita godric goran greta grigor grover guido gunnar gustav gwen
hadley hakim halden hamish hanna harlan hassan hector heidi helmut henrik hester hilda hiro holger horatio howard hugo
ianthe ibrahim idris ignaz ilka imogen indira ines ingrid ioana irina irving isaak isolde ivana
jabari jaleh janek jarvis jaspar javier jelena jens jerome jiro joachim jolanta jonas jorge josef jovan judit julius
kaia kamal karel karina kaspar katya keiko kelvin kendra kenji khalil kieran kirsten klaus kofi konrad kyra
ladislav lakshmi lamar larissa lasse latif laurel leander leif lenka leopold leticia levin liesel linus lionel lorcan
lorena lothar lucian ludmila luther lydia
mabel maddox maeve magnus malik manfred marcel marek margit mariko marius marlon mateo matilda maxim mehmet melvin
mercy milan milos minerva miriam mirko monroe muriel
nadia naomi narcis natasha neville niall nico nikhil nils nina noelle nolan norbert nuria
octavio odette olaf oleg olga oluf omar ophelia orla orson oscar osman oswald otis ottilie owen
palmer pascal patrik pavel pedro percy petra phelan pia pierce piotr placido portia preston priya
quentin quilla quincy
rafiq rainer ramona ransom rashid raul reiko renata reuben rhona rigby rinaldo roderic rohan roland romy ronan rosalie
roscoe rowan rufus rurik
sabine salim samira sanjay saskia saul selma serge shanti sigrid silas silvio simone soren stefan stellan sunita sven
sylvie
tabitha tadeus talia tamar tariq tatiana teodor thaddeus theron thora tiberius tilda tobias tomas torsten tristan
ulrika umberto uriel ursula
valeria vance vasco velma vera viggo viktor vilhelm vincent viveka vladimir
waldo walter wanda warren wendel wilfred wilma winona wolfgang
xavier ximena
yara yasmin yelena yorick yusuf yvette
zahra zelda zeno zita zoltan zora
"""

WORDS = tuple(_WORDS.split())
NAMES = tuple(_NAMES.split())
