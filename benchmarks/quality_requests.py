"""Requests that one of five tools serves: templates of quality_data.py, no entry on two sides."""

from __future__ import annotations

from quality_sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, lines_of

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
            {parcel}
            tracking {parcel}
            the driver should have {parcel} on board, check that
            my wife expects {parcel} today
            How far has {parcel} come
            Shipping update on {parcel} wanted
            {parcel} does not show up in the app
            we are missing package {parcel}
            Let us know as soon as you learn where {parcel} is
            has customs released {parcel}
            Kindly look up delivery {parcel}
            When did {parcel} get out
            {parcel} went to the wrong street, I guess
            Did anyone sign for {parcel}
            the website says nothing of {parcel}
            has my order under {parcel} been delivered already
            Someone should trace {parcel}
            I keep asking about {parcel}
            arrival time of {parcel}
            expected {parcel} on Tuesday, still nothing
            {parcel} is stuck, isn't it
            Could the courier service tell us more on {parcel}
            Package {parcel} seems to travel in circles
            what does the scanner say for {parcel}
            """),
        DEVELOPMENT: lines_of("""
            Can you see where parcel {parcel} is now
            Please track the way of {parcel}
            My parcel {parcel} has not arrived, look where it is
            has anybody seen consignment {parcel}
            {parcel}: sent, lost or stolen?
            which truck carries {parcel}
            I paid for {parcel} weeks ago, show me its path
            """),
        HELD_OUT: lines_of("""
            Any news about shipment {parcel}?
            What happened to {parcel}, nobody brought it
            Please locate {parcel}
            {parcel} was promised for Monday, is it near?
            At which depot does {parcel} sit
            find out whether {parcel} left the warehouse
            Give me the whereabouts of {parcel}
            Our box {parcel} never came
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
            refund: {customer}, {euros}
            {customer}, {euros} euros back
            The goods of {customer} were damaged, {euros} to be reimbursed
            we owe {customer} {euros}
            Please arrange that {customer} receives {euros} again
            pay back {euros} please, account {customer}
            Account {customer} was charged {euros} by mistake
            {customer} never got the shoes and wants the {euros}
            apologise to {customer} with {euros}
            {euros} less for {customer}, the rest stays
            Book {euros} in favour of {customer}
            a voucher will not do for {customer}, make it {euros} in money
            {customer} sent everything home to us, so refund {euros}
            issue {euros} to number {customer}
            as agreed on the phone {customer} has {euros} coming
            Somebody charged {customer} another {euros}, fix this
            Chargeback of {euros}, it concerns {customer}
            Please refund the deposit of {euros} that {customer} left with us
            The double payment by {customer} was {euros}
            {customer} may have {euros} off, send it over
            Delivery came late: {customer} gets {euros}
            {euros} for {customer}, reason: wrong colour
            approve {customer}'s claim over {euros}
            wire {euros} home to {customer}
            """),
        DEVELOPMENT: lines_of("""
            Send a refund of {euros} to {customer}
            {customer} paid twice, give back {euros}
            Let {customer} have {euros} of the money back
            {euros} too much were billed to {customer}, undo it
            hand {customer} {euros} in cash
            The buyer {customer} gets a rebate of {euros}
            unhappy customer {customer}: {euros} should go back
            """),
        HELD_OUT: lines_of("""
            Transfer {euros} back to client {customer}
            {customer} cancelled, so {euros} must be returned
            Credit {customer} with {euros}
            reverse the charge of {euros} for {customer}
            {euros} go back to {customer}, the lamp was broken
            Buyer {customer} complained: restore the {euros}
            repay {customer} the sum of {euros}
            {customer} deserves {euros} back
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
            visit {city} {date}
            {city} {date}
            {date} {city}, two hours
            The customer in {city} has a leak, could we come {date}
            service call {city}, {date} suits them
            Reserve {date} for our trip to {city}
            Plumber needed, {city}, the date would be {date}
            When in {city}? I would say {date}
            can you take the {city} job on {date}
            our next stop is {city}, that is {date}
            {city} again, this time {date}
            The elevator in {city} is due, let it be {date}
            I promised to be in {city} {date}
            let the electrician travel to {city} for {date}
            they want us in {city}, preferably {date}
            move the {city} thing to {date}
            Sign me up for {city}, {date}
            an audit takes place in {city}, please schedule {date}
            {date} works for the folks from {city}
            confirm {date} with {city}
            Repair team, {city}, {date}, morning
            Someone has broken the door in {city}, visit them {date}
            Installation planned: {city} / {date}
            {city} would welcome our people {date}
            """),
        DEVELOPMENT: lines_of("""
            Plan a technician for {city}, the day is {date}
            Can we visit {city} around {date}
            Arrange an inspection: {city}, {date}
            our crew drives out to {city} {date}
            {city}, {date}: heating inspection
            could the fitter see {city} {date}
            note down an appointment {date}, place {city}
            """),
        HELD_OUT: lines_of("""
            Send an engineer to {city} on {date}
            The plant in {city} must be checked {date}
            Fix an appointment for {date}, {city}
            We promised {city} a mechanic on {date}
            {city} needs a repair crew by {date}
            drive to {city}, they are open {date}
            Enter {date} as our day in {city}
            Maintenance at {city}: {date}
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
            {name}: {email}
            {name} {email}
            {email}, says {name}
            new e-mail address for {name} is {email}
            {name} got married and is at {email} these days
            I am {name}, please reach me at {email}
            My name is {name} and my mail is {email}
            could you change my address to {email}? {name}
            Hello from {name}, I have {email} since Friday
            letters to {name} bounce, try {email}
            our customer {name} prefers {email}
            set the mail of {name} to {email}
            {email} is what {name} gave me on the phone
            typo in the address book: {name} has {email}
            {name} lost access, the account is {email} today
            send all offers for {name} to {email}
            put {name} into the list with {email}
            The contact person is {name} ({email})
            Ms {name} moved, {email}
            add {email} for {name}
            Who asks for {name} should write to {email}
            We have no valid mail of {name}; it should be {email}
            {email} instead of the old address, for {name}
            change {name}, mail {email}
            """),
        DEVELOPMENT: lines_of("""
            Correct contact details for {name} to {email}
            {name} says that the mail is {email} now
            The address {email} replaces the old one of {name}
            mails for {name} must go to {email}
            who is {name}? reachable via {email}
            overwrite the address: {name} has {email}
            {email} (that is {name}) is right, the old one is not
            """),
        HELD_OUT: lines_of("""
            {name} now uses {email}
            Replace the entry of {name} by {email}
            Write down {email} as mail of {name}
            {email} is where {name} reads letters
            Please store the fresh mail {email}, person {name}
            {name} switched to {email}
            edit the record: {name}, {email}
            newsletters for {name} go out to {email}
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
            reserve {quantity}, {site}
            {site}: {quantity} units
            {quantity} for {site}
            We are going to need {quantity} in {site}
            hold back {quantity} screws, {site} is building
            the {site} branch orders {quantity} doors
            Please reserve {quantity} from the stock, shop {site}
            {site} runs out soon, leave {quantity} there for them
            Store manager of {site} wants {quantity} shirts set aside
            block {quantity} of the blue ones: {site}
            make sure that {quantity} remain until {site} comes
            {quantity} batteries, to be fetched by {site}
            Our people at {site} require {quantity} cables
            stock request from {site}, {quantity} pairs
            put a note on {quantity} windows, property of {site}
            {site} has a sale next week and claims {quantity}
            let no one else have the {quantity}, {site} pays already
            may I get {quantity} items reserved in {site}
            a truck from {site} picks up {quantity}
            {quantity} packs on my name, depot {site}
            do we have {quantity} for {site}? then keep them
            count {quantity} out for {site}
            Warehouse: {quantity} must be free for {site}
            mark {quantity} as sold, buyer is our house in {site}
            """),
        DEVELOPMENT: lines_of("""
            Store {quantity} boxes, they are meant for {site}
            Please keep {quantity} units aside, {site} ordered them
            Hold {quantity} pieces until {site} collects
            {quantity} sacks shall not leave the hall, {site} needs them
            the people of {site} asked for {quantity} tyres, keep those
            take {quantity} off the market for {site}
            {site} has first call on {quantity} tubes
            """),
        HELD_OUT: lines_of("""
            Earmark {quantity} cartons for {site}
            {site} wants {quantity} barrels kept
            Lock {quantity} bottles, the store {site} takes them
            Please retain {quantity} parts on behalf of {site}
            {quantity} chairs must wait for {site}
            ring-fence {quantity} drums for {site}
            allocate {quantity} spools to {site}
            {site} books {quantity} lamps from our shelves
            """),
    },
}
LEADS: Sided = {
    TRAIN: [
        *("Hi, ", "Good morning. ", "Quick one: ", "hey team ", "Next: ", "One thing. ", "Help! "),
        *("Friends - ", "To whom it concerns: ", "Today, ", "Important! ", "Office - ", "Hello. "),
        *(
            "",
            "",
            "",
            "",
            "Dear colleague, ",
            "Greetings! ",
            "Good afternoon, ",
            "Question: ",
            "Thanks. ",
        ),
        *(
            "From the front desk: ",
            "For the record, ",
            "If possible: ",
            "hello ",
            "Now: ",
            "Also, ",
        ),
        *(
            "1. ",
            "* ",
            "Could you help? ",
            "Small request. ",
            "Re your call: ",
            "Team, ",
            "Urgently: ",
        ),
        *(
            "Just in: ",
            "Kind regards to all. ",
            "Sir or Madam, ",
            "A customer writes: ",
            "As I said, ",
        ),
    ],
    DEVELOPMENT: ["Dear all, ", "Urgent! ", "Colleagues - "],
    HELD_OUT: [
        "Dear support, ",
        "Morning! ",
        "Attention: ",
        "By the way, ",
        "Please note: ",
        "Sorry to bother you. ",
        "Task: ",
        "Second point - ",
        "Listen: ",
        "Before I forget: ",
    ],
}
