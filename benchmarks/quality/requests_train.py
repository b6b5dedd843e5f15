"""Templates of requests for one of five tools, to train on. The others are in requests.py."""

from __future__ import annotations

from benchmarks.quality.sides import lines_of

TRAINED: dict[str, list[str]] = {
    "track_parcel": lines_of("""
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
        Trace: {parcel}
        Look for {parcel} in the system
        Nobody rang, though {parcel} was announced
        My goods have not come yet, the number is {parcel}
        {parcel} is still not here
        Ordered ten days ago, no delivery so far: {parcel}
        I bought a coat, code {parcel}, and it never turned up
        Please tell the customer how long {parcel} takes
        Hand over the latest scan of {parcel}
        Is {parcel} on the road
        Someone waits at home for {parcel}
        {parcel}, arrived or not?
        Paid and ordered, but {parcel} is nowhere
        Which station did {parcel} pass last
        Deliveries: check {parcel}
        the postman has not brought {parcel}
        """),
    "issue_refund": lines_of("""
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
        Refunds: {euros}, {customer}
        Money back for {customer}, namely {euros}
        {customer} sees {euros} too many on the bill
        the invoice of {customer} was {euros} too high, correct that
        Cancel the fee of {euros} for {customer}
        {customer} did not order this, return {euros}
        Undo the payment of {customer}, it was {euros}
        We billed {customer} for a service that never took place, {euros}
        Let {euros} flow back into account {customer}
        Price cut of {euros} granted to {customer} after the fact
        The broken chair of {customer} costs us {euros}
        {customer} is angry, so give {euros}
        Compensation: {customer} / {euros}
        Send {customer} what we owe: {euros}
        Overpaid by {euros}, says {customer}
        Return of goods, customer {customer}, {euros} to pay out
        """),
    "schedule_visit": lines_of("""
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
        Visit: {city}, {date}
        Technician, {city}, {date}
        Agree on {date} with the caretaker in {city}
        Ask the crew to be in {city} on {date}
        Organise a check of the roof in {city} {date}
        Inspection: {date}, {city}
        Tell our man to go to {city} {date}
        Let us see the site of {city}, {date} would do
        {city} reports a fault, come {date}
        The boiler at {city} stopped, somebody must look {date}
        the team goes to {city} {date}
        Can the workers reach {city} by {date}
        Appointment: {city} at {date}
        Get a fitter over to {city} {date}
        {date} at noon, {city}, new windows
        they open the gates of {city} for us {date}
        """),
    "update_contact": lines_of("""
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
        Address of {name}: {email}
        Contact: {name}, {email}
        Rename the mailbox of {name} into {email}
        The mail that we have for {name} is old, {email} is good
        write {email} into the card of {name}
        from today {name} answers under {email}
        {name}, formerly elsewhere, has {email}
        Correct this: {name} reads {email}
        {email} (of {name}) works, use it
        Delete what we had for {name} and put {email}
        please mail {name} at {email} instead
        her name is {name} and her new address {email}
        The new boss is {name}, {email}
        the invoices of {name} must arrive at {email}
        Enter {email} for our client {name}
        {name} told me: use {email}
        """),
    "reserve_stock": lines_of("""
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
        Stock: {site} {quantity}
        Reservation: {quantity}, {site}
        Keep them for {site}, all {quantity}
        Nobody may take the {quantity} planks of {site}
        The colleagues in {site} ask for {quantity}, leave them aside
        Save some for {site}: {quantity}
        {quantity} hammers are meant to go to {site} next week
        Leave {quantity} boxes in the hall, they belong to {site}
        Set aside: {quantity} for {site}
        {site} asks if we can keep {quantity} for a while
        guard {quantity} heaters, their owner {site} is on the way
        Reserve what {site} needs, that is {quantity}
        pack {quantity} and keep, {site} will send a car
        Take {quantity} out of sale for {site}
        The workshop {site} is going to use {quantity} of them
        I need {quantity} kept for my shop in {site}
        """),
}
