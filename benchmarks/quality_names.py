"""People, cities and hosts of quality_data.py: no entry on two sides."""

from __future__ import annotations

from quality_sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, listed

CITIES: Sided = {
    TRAIN: listed("""
        Oslo Lima Quito Porto Basel Turin Sofia Malmo Ghent Tunis Perth Bergen Havana Leipzig
        Cologne Naples Gdansk Dakar Accra Manila Hanoi Seoul Denver Phoenix
        Zagreb Yangon Wuhan Vilnius Umea Ibiza Kazan Nagoya Rabat Dijon Cadiz Khartoum Uppsala
        Winnipeg Zaragoza Nancy Imola Reims Dubai Colombo Delft Kaunas Rotterdam Innsbruck"""),
    DEVELOPMENT: listed(
        "Cork Davos Izmir Kyoto Nantes Riga Utrecht Wroclaw Ankara Bremen Halifax Toulouse Pisa Murcia"
    ),
    HELD_OUT: listed("""
        Antwerp Bologna Calgary Dresden Edinburgh Florence Genoa Helsinki Istanbul Jakarta Kigali
        Lausanne Marseille Nottingham Odense Palermo Rostock Salzburg Tallinn Valencia Windhoek Yerevan
        Stockholm Brisbane"""),
}
FIRST: Sided = {
    TRAIN: listed("""
        Nina Omar Paul Iris Jon Mina Carl Dora Emil Fay Ursula Quentin Vince Agnes Silas Yvonne
        Rupert Pia Zack Walt Bertha Georg Hilda Kevin Lukas Tobias Brenda Gwen Harold Kira Lydia
        Theo Barney Gloria Hector Kasper Leon Tilda"""),
    DEVELOPMENT: listed("Boris Greg Heidi Kurt Lara Tessa Esther Moritz Jasper Odile Reinhard"),
    HELD_OUT: listed("""
        Arthur Beatrice Clemens Daphne Edgar Frieda Gustav Helen Isidor Johanna Konrad Luise Magnus
        Nora Otto Philippa Roland Sophie Thomas Veronika"""),
}
LAST: Sided = {
    TRAIN: listed("""
        Roth Said Dent Vale Snowden Harker Winter Bloom Stone Pike Osborne Kessler Lund Judd
        Ingram Nash Tully Quick Barlow Esser Archer Cole Foster Grady Mercer York Ames Cobb Fisk
        Grant Moss Yeats Acton Crowe Finch Glover Marsh Yardley"""),
    DEVELOPMENT: listed(
        "Abbott Crane Fenn Gould Maddox Yates Holloway Drake Lindqvist Pratt Sutton"
    ),
    HELD_OUT: listed("""
        Albers Bennett Calder Dorsey Ellery Farrow Gilmore Hartwig Iverson Jarvis Keller Lambert
        Mayfield Norris Orwell Prescott Ramsey Sheldon Thorne Wexler"""),
}
HOSTS: Sided = {
    TRAIN: listed("mail.test corp.test acme.example uni.test shop.example kline.test"),
    DEVELOPMENT: listed("orbit.invalid fox.invalid"),
    HELD_OUT: listed("""
        lumen.alt willow.alt post.internal atlas.local"""),
}
