"""People, companies, cities and hosts; no entry is on two sides."""

from __future__ import annotations

from benchmarks.quality.sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, lines_of, listed

CITIES: Sided = {
    TRAIN: listed("""
        Oslo Lima Quito Porto Basel Turin Sofia Malmo Ghent Tunis Perth Bergen Havana
        Leipzig Cologne Naples Gdansk Dakar Accra Manila Hanoi Seoul Denver Phoenix
        Zagreb Yangon Wuhan Vilnius Umea Ibiza Kazan Nagoya Rabat Dijon Cadiz Khartoum
        Uppsala Winnipeg Zaragoza Nancy Imola Reims Dubai Colombo Delft Kaunas
        Rotterdam Innsbruck Aarhus Bergamo Bordeaux Bristol Brno Bucharest Cadaques
        Cardiff Catania Charleroi Corfu Dallas Dortmund Durban Essen Exeter Fargo
        Freiburg Galway Gotland Granada Graz Groningen Harare Houston Hull Iasi
        Inverness Jena Kampala Karlsruhe Kiel Kobe Lahore Leiden Lille Linz Lucca
        Lusaka Madras Malaga Mannheim Messina Miami Mostar Narvik Newcastle Nicosia
        Novara Omaha Orleans Ostrava Oxford Padua Pamplona Patras Plovdiv Poznan
        Quebec Ravenna Rennes Rijeka Rouen Santiago Sapporo Seville Sheffield Siena
        Skopje Split Stavanger Strasbourg Szeged Tampa Tartu Thessaloniki Tirana
        Trieste Trondheim Tucson Ulm Valletta Verona Vigo Wichita York Ypres Zwolle"""),
    DEVELOPMENT: listed("""
        Cork Davos Izmir Kyoto Nantes Riga Utrecht Wroclaw Ankara Bremen Halifax
        Toulouse Pisa Murcia"""),
    HELD_OUT: listed("""
        Antwerp Bologna Calgary Dresden Edinburgh Florence Genoa Helsinki Istanbul
        Jakarta Kigali Lausanne Marseille Nottingham Odense Palermo Rostock Salzburg
        Tallinn Valencia Windhoek Yerevan Stockholm Brisbane"""),
}
FIRST: Sided = {
    TRAIN: listed("""
        Nina Omar Paul Iris Jon Mina Carl Dora Emil Fay Ursula Quentin Vince Agnes
        Silas Yvonne Rupert Pia Zack Walt Bertha Georg Hilda Kevin Lukas Tobias Brenda
        Gwen Harold Kira Lydia Theo Barney Gloria Hector Kasper Leon Tilda Abel Ada
        Albert Alma Amos Angela Anton Astrid Bernard Bianca Boyd Bruno Carla Cecil
        Celia Chester Conrad Cora Cyrus Dalia Della Dennis Donald Doris Duncan Edith
        Edwin Ellen Elmer Enid Eric Ernst Estelle Ethel Eugene Fanny Fergus Flora
        Floyd Frank Gerald Gilbert Gina Grover Hannes Hazel Herbert Hilary Howard
        Hubert Igor Ilse Ines Irma Irving Jacob Jane Jerome Joel Josef Judith Julius
        Kathy Keith Kenneth Klara Laura Lester Lionel Lorna Louis Lucy Luther Mabel
        Marvin Matilda Max Melvin Mildred Milo Mona Morris Myra Nadine Nelson Nigel
        Norman Olive Oliver Orla Oswald Pablo Patrick Pearl Percy Phoebe Ralph Ramona
        Regina Rex Robin Rodney Roger Rolf Roy Sally Samuel Selma Seth Sigrid Stella
        Sven Sylvia Ted Timothy Trudy Vernon Vincent Viola Wanda Warren Wendy Wilma
        Winston Xavier"""),
    DEVELOPMENT: listed("Boris Greg Heidi Kurt Lara Tessa Esther Moritz Jasper Odile Reinhard"),
    HELD_OUT: listed("""
        Arthur Beatrice Clemens Daphne Edgar Frieda Gustav Helen Isidor Johanna Konrad
        Luise Magnus Nora Otto Philippa Roland Sophie Thomas Veronika"""),
}
LAST: Sided = {
    TRAIN: listed("""
        Roth Said Dent Vale Snowden Harker Winter Bloom Stone Pike Osborne Kessler
        Lund Judd Ingram Nash Tully Quick Barlow Esser Archer Cole Foster Grady Mercer
        York Ames Cobb Fisk Grant Moss Yeats Acton Crowe Finch Glover Marsh Yardley
        Abel Aldridge Allen Baird Barker Bates Beck Becker Bell Benson Berg Bishop
        Black Blake Boone Bowen Boyle Brand Bryant Burke Burton Butler Byrne Carey
        Carr Carter Chase Clay Cohen Conley Corbett Craig Curry Dalton Davis Dean
        Decker Dixon Doyle Duffy Dunn Eaton Elliott Ellis Emery English Farmer
        Faulkner Field Fink Fletcher Flynn Fox Frost Gates Gibbs Gibson Gordon Graham
        Graves Gray Griffin Haas Hale Hall Hardy Harris Hart Hayes Heath Hess Hicks
        Hogan Holt Horn Howe Hunt Hurst Irwin Jacobs Jennings Kane Keith Kemp Kent
        Kerr King Kirk Knight Koch Kramer Krause Lane Larsen Lawson Leach Lee Lloyd
        Logan Lowe Lynch Madsen Mann Mason Mead Mercier Mills Moody Morton Myers
        Newton Noble Nolan Oakley Odell Orr Osman Page Palmer Payne Pearson Perry
        Peters Pierce Pope Potter Powell Price Pruitt Quill Rand Reese Rhodes Rice
        Robbins Rowe Rudd Russell Ryan Sadler Savage Schultz Scott Shaw Short Simms
        Skinner Snow Spence Stark Steele Strong Swann Swift Sykes Talbot Terry Todd
        Tower Tripp Turner Tyler Vance Vaughn Wade Walker Wall Walsh Ward Ware Watts
        Webb Weiss Welch Wells West White Wiley Wolf Woods Wright Wynn Yoder Zimmerman"""),
    DEVELOPMENT: listed("""
        Abbott Crane Fenn Gould Maddox Yates Holloway Drake Lindqvist Pratt Sutton"""),
    HELD_OUT: listed("""
        Albers Bennett Calder Dorsey Ellery Farrow Gilmore Hartwig Iverson Jarvis
        Keller Lambert Mayfield Norris Orwell Prescott Ramsey Sheldon Thorne Wexler"""),
}
HOSTS: Sided = {
    TRAIN: listed("""
        mail.test acme.example kline-mail.com my-post.de northpost.org inbox24.net
        shop-oak.co.uk uni-hill.edu bluebox.fr web-river.it home-one.nl posta-sole.es
        office7.biz lane.info sunmail.ca tower-it.ch foundry.com.au red.se barn-mail.us
        hello-you.io greenfield.at cloudy.dk st-anna.hospital mymail.be quarry.pl town.gov
        fastbox.ie"""),
    DEVELOPMENT: listed("orbit.invalid fox.invalid"),
    HELD_OUT: listed("""
        lumen.alt willow.alt post.internal atlas.local"""),
}
COMPANIES: Sided = {
    TRAIN: lines_of("""
        Northwind Traders
        Acme Rockets
        Blue Heron Cafe
        Kline & Sons
        Studio Verde
        Harbor Freight Lines
        Oakridge Dairy
        Pelican Print
        Summit Tiles
        Ivory Dental
        Quarry & Partner
        Delta Couriers
        Velvet Curtains
        Granite Gym
        Lakeside Nursery
        Rainbow Paint
        Umbra Lighting
        Emerald Travel
        Xenon Signs
        Yellow Cab Union
        Dunmore Steel
        Orchid Catering
        Windmill Flour
        Thistle Wool
        Hilltop Bikes
        Cactus Software
        Red Barn Eggs
        Monument Stones
        Ocean Diving School
        Garnet Jewels
        Fenwick Tailors
        Little Owl Books
        Pinewood Sawmill
        Silver Fern Tours
        Golden Gate Locksmiths
        Polar Ice Cream
        Atelier Rousseau
        Moonlight Cinema
        Ferguson Plumbing
        Turtle Toys
        Highland Tea
        Maple Leaf Syrup
        Iron Bridge Welding
        Papyrus Stationery
        Lotus Massage
        Vulcan Heating
        Whitaker & Daughters
        Canary Cleaning
        Beacon Insurance
        Tulip Gardens
        Magnet Electronics
        Eagle Security
        Rivera Coffee
        Stellar Printworks
        Humble Carpentry
        Opal Cosmetics
        Bison Leather
        Comet Rentals
        Fairview Hospital
        Jolly Baker
        """),
    DEVELOPMENT: lines_of("""
        Juniper Labs
        Wexford Glass
        Tidewater Ropes
        Morrow Bakery
        Zephyr Cycles
        Tamarind Imports
        Bluebell Nurses
        Crescent Hotels
        """),
    HELD_OUT: lines_of("""
        Copperfield Timber
        Marigold Florists
        Osprey Aviation
        Bramble Orchards
        Lantern Theatre
        Cobalt Chemicals
        Hearth & Home
        Saffron Kitchen
        Birchwood Clinic
        Falcon Storage
        Tundra Outfitters
        Nautilus Pools
        Mosaic Gallery
        Peregrine Legal
        Cedar Opticians
        Meteor Fireworks
        """),
}
