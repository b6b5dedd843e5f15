"""Words and templates of quality_data.py, for training and held out: no entry stands on both sides.

Placeholders of a template are filled in by quality_data.py.
"""

from __future__ import annotations

TRAIN, HELD_OUT = SIDES = ("train", "held out")

Sided = dict[str, list[str]]


def listed(text: str) -> list[str]:
    return text.split()


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


# Invoices: a letterhead; then a number, an amount and a date by which to pay, in any order.
NUMBERS: Sided = {
    TRAIN: lines_of("""
        Invoice {number}
        invoice no. {number}
        bill {number}
        our ref {number}
        your bill is numbered {number}
        (no. {number})
        No: {number}
        re {number}
        we wrote you invoice {number}
        Billing number: {number}
        {number} is the number of the invoice
        quote {number} when you pay
        {number}
        """),
    HELD_OUT: lines_of("""
        Find enclosed invoice {number}
        this letter concerns bill {number}
        Number of your invoice: {number}
        invoice with the no. {number}
        booked as invoice {number}
        """),
}
AMOUNTS: Sided = {
    TRAIN: lines_of("""
        amount due {amount} EUR
        total: {amount}
        Amount: USD {amount}
        the sum is {amount} GBP
        we charge {amount} EUR
        you owe us {amount}
        {amount} EUR
        transfer {amount} CHF
        open amount {amount} USD
        it comes to {amount}
        please pay {amount} EUR
        a total of {amount} GBP
        {amount} to pay
        """),
    HELD_OUT: lines_of("""
        the open sum: {amount} SEK
        which makes {amount} NOK to transfer
        Total payable {amount}
        amount of {amount} DKK
        we ask you for {amount} CAD
        """),
}
DUES: Sided = {
    TRAIN: lines_of("""
        due {due}
        pay by {due}
        Due date: {due}
        payable until {due}
        before {due}
        deadline {due}
        term ends {due}
        it falls due on {due}
        not later than {due}
        {due} is when we expect it
        till {due} please
        within the term, {due}
        payment date {due}
        """),
    HELD_OUT: lines_of("""
        to be paid until {due}
        last payment day {due}
        our deadline is {due}
        payment due at {due}
        see that it is paid by {due}
        """),
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
        """),
    HELD_OUT: lines_of("""
        Juniper Labs
        Wexford Glass
        Tidewater Ropes
        Morrow Bakery
        Zephyr Cycles
        """),
}
SEPARATORS = (". ", ", ", "; ", "\n")  # punctuation is no template: both sides have it

# Requests that one of five tools serves.
REQUESTS: dict[str, Sided] = {
    "track_parcel": {
        TRAIN: lines_of("""
            Where is parcel {parcel}?
            Could you track {parcel} for me
            Has {parcel} shipped yet?
            {parcel} should have been here, where did it go
            I am still waiting for {parcel} to arrive
            When will {parcel} reach me
            Status of {parcel}, please
            Did the van take {parcel}?
            no sign of {parcel} at our door
            follow {parcel} on its way
            is {parcel} delayed
            Tell me the road that {parcel} took
            Our parcel {parcel} is late, see what became of it
            Can you check the journey of {parcel}
            I cannot find {parcel} anywhere
            The courier lost {parcel}, I fear
            """),
        HELD_OUT: lines_of("""
            Can you see where parcel {parcel} is now
            Please track the way of {parcel}
            My parcel {parcel} has not arrived, look where it is
            """),
    },
    "issue_refund": {
        TRAIN: lines_of("""
            Refund {euros} euros to customer {customer}
            Please give {customer} their {euros} back
            {customer} wants money back: {euros}
            Reimburse {customer}, {euros} in all
            We overcharged {customer} by {euros} and must pay it back
            pay {euros} out to {customer}
            {customer} is owed {euros} by us
            Return the {euros} that {customer} paid
            {euros} were taken wrongly from {customer}
            compensate {customer} for the trouble with {euros}
            the account {customer} should get {euros} again
            make good {euros} for {customer}
            Let us refund {customer} with {euros}
            Give back {euros}, the client is {customer}
            Customer {customer} returned the goods, pay back {euros}
            {euros} of refund for {customer} are approved
            """),
        HELD_OUT: lines_of("""
            Send a refund of {euros} to {customer}
            {customer} paid twice, give back {euros}
            Let {customer} have {euros} of the money back
            """),
    },
    "schedule_visit": {
        TRAIN: lines_of("""
            Schedule a visit in {city} on {date}
            We need a technician in {city}, {date}
            Book the site visit {date} at {city}
            Someone must go to {city} on {date}
            {date} is fine for an inspection in {city}
            On {date} our people in {city} want a visit
            Is {date} free? {city} asks for a technician
            Put {city} in the calendar, {date}
            {city} expects us {date}
            travel to {city} and be there on {date}
            {date}, {city}: inspect the boiler
            set {date} for the {city} visit
            Our technician shall visit {city}, best on {date}
            Make {date} the day of the inspection, {city} is the place
            Can someone come to {city} at {date}
            Set up a visit: {date} in {city}
            """),
        HELD_OUT: lines_of("""
            Plan a technician for {city}, the day is {date}
            Can we visit {city} around {date}
            Arrange an inspection: {city}, {date}
            """),
    },
    "update_contact": {
        TRAIN: lines_of("""
            Change the mail of {name} to {email}
            {name} has a new address {email}
            Update contact {name}: {email}
            From now on write to {name} at {email}
            The mailbox of {name} moved, it is {email} now
            {email} belongs to {name}, note it
            our file on {name} must say {email}
            {name} left the old provider for {email}
            Save {email} under {name}
            new: {email}, who: {name}
            you can reach {name} under {email}
            {name} asks us to write to {email}
            The mail {email} is now the one of {name}
            Contact data of {name} are wrong, put {email}
            Use the address {email} when you write to {name}
            For {name} we need to store {email} as the address
            """),
        HELD_OUT: lines_of("""
            Correct the contact data of {name} to {email}
            {name} says that the mail is {email} now
            The address {email} replaces the old one of {name}
            """),
    },
    "reserve_stock": {
        TRAIN: lines_of("""
            Reserve {quantity} units for {site}
            {site} needs {quantity} pieces put aside
            Put {quantity} boxes on hold for {site}
            Keep {quantity} crates back, {site} will want them
            Set {quantity} pallets apart for the depot {site}
            {quantity} bags are to stay in store for {site}
            do not sell the last {quantity}, they are for {site}
            {site} asks us to keep {quantity} of them
            block {quantity} rolls in the name of {site}
            save {quantity} sheets, the shop in {site} comes for them
            of the stock, {quantity} go to {site}
            lay {quantity} tins by for {site}
            Please hold {quantity} boxes back, {site} ordered them
            Our branch {site} will collect {quantity} units, reserve them
            Store {quantity} pieces until they go to {site}
            Keep {quantity} aside until {site} calls
            """),
        HELD_OUT: lines_of("""
            Store {quantity} boxes, they are meant for {site}
            Please keep {quantity} units aside, {site} ordered them
            Hold {quantity} pieces until {site} collects
            """),
    },
}
LEADS: Sided = {
    TRAIN: [
        *("Hi, ", "Good morning. ", "Quick one: ", "hey team ", "Next: ", "One thing. ", "Help! "),
        *("Friends - ", "To whom it concerns: ", "Today, ", "Important! ", "Office - ", "Hello. "),
    ],
    HELD_OUT: ["Dear all, ", "Urgent! ", "Colleagues - "],
}
CITIES: Sided = {
    TRAIN: listed("""
        Oslo Lima Quito Porto Basel Turin Sofia Malmo Ghent Tunis Perth Bergen Havana Leipzig
        Cologne Naples Gdansk Dakar Accra Manila Hanoi Seoul Denver Phoenix
        Zagreb Yangon Wuhan Vilnius Umea Ibiza Kazan Nagoya Rabat Dijon Cadiz Khartoum Uppsala
        Winnipeg Zaragoza Nancy Imola Reims Dubai Colombo Delft Kaunas Rotterdam Innsbruck"""),
    HELD_OUT: listed("Cork Davos Izmir Kyoto Nantes Riga Utrecht Wroclaw"),
}
FIRST: Sided = {
    TRAIN: listed("""
        Nina Omar Paul Iris Jon Mina Carl Dora Emil Fay Ursula Quentin Vince Agnes Silas Yvonne
        Rupert Pia Zack Walt Bertha Georg Hilda Kevin Lukas Tobias Brenda Gwen Harold Kira Lydia
        Theo Barney Gloria Hector Kasper Leon Tilda"""),
    HELD_OUT: listed("Boris Greg Heidi Kurt Lara Tessa"),
}
LAST: Sided = {
    TRAIN: listed("""
        Roth Said Dent Vale Snowden Harker Winter Bloom Stone Pike Osborne Kessler Lund Judd
        Ingram Nash Tully Quick Barlow Esser Archer Cole Foster Grady Mercer York Ames Cobb Fisk
        Grant Moss Yeats Acton Crowe Finch Glover Marsh Yardley"""),
    HELD_OUT: listed("Abbott Crane Fenn Gould Maddox Yates"),
}
HOSTS: Sided = {
    TRAIN: listed("mail.test corp.test acme.example uni.test shop.example kline.test"),
    HELD_OUT: listed("orbit.invalid fox.invalid"),
}
